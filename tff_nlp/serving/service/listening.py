"""The socket of a service: which address it may have, and its binding."""

import contextlib
import ctypes
import ipaddress
import socket
import struct

from tff_nlp.errors import UserError, setting, verbatim

# Linux's number of the option; Python's module has no name for it.
_SO_ATTACH_FILTER = 26
# The packet filter "return 0", which drops each packet: struct sock_filter of linux/filter.h.
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)


def bind(host: str, port: int, *, only_local: bool) -> socket.socket:
    """Returns a bound socket. It does not listen yet, so clients cannot connect.

    Args:
      host: Name or address of this machine.
      port: Port; 0 for any free one.
      only_local: Whether only clients on this machine may connect.

    Raises:
      UserError: If the host is unknown or not allowed, or the port is taken or not permitted.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a name"
        raise UserError(f"{setting('host', host)}: {verbatim(reason)}") from error
    if only_local and not ipaddress.ip_address(address[0]).is_loopback:
        raise UserError(
            f"{setting('host', host)}: without `api_keys`, only this machine is served (127.0.0.1)"
        )
    listener = socket.socket(family, kind, protocol)
    try:
        # Lets a service start again while connections of the one before are still ending.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise UserError(
            f"{setting('port', port)}: cannot be used on {verbatim(host)} "
            f"({verbatim(error.strerror or error)})"
        ) from error
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """Returns the address of a bound socket as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def let_nobody_in(listener: socket.socket) -> None:
    """Makes the kernel ignore new connections. Those that wait to be accepted are kept.

    Closing the socket at once would reset those that wait. A client that is ignored tries again
    after a second, and is refused when the socket is closed. All processes that share the socket
    are affected. Where the kernel has no packet filters, nothing changes.

    Args:
      listener: A socket that listens.
    """
    instructions = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    # struct sock_fprog: the number of instructions, and where they are.
    program = struct.pack("HP", 1, ctypes.addressof(instructions))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
