"""Reports connections that gRPC refuses before any call, for example without a certificate.

gRPC writes these connections to its log and reports them in no other way. The log goes to the
standard error of the process.
"""

import collections
import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator

from tff_nlp.silence_libraries import GRPC_SILENT, GRPC_VERBOSITY

_STDERR = 2
# gRPC's lines, for example "I1127 01:38:19.779579    4070 ssl_transport_security.cc:2563] ...".
_LOG_LINE = re.compile(rb"[IWE]\d{4} [\d:.]+ +\d+ [\w./]+:\d+\] ")
_HANDSHAKE = re.compile(rb"Handshake failed .*?:OPENSSL_internal:([A-Z0-9_]+)(?:: (.*))?")
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "HTTP_REQUEST": "it speaks HTTP without TLS",
}


@contextlib.contextmanager
def reported(say: Callable[[str], None]) -> Iterator[None]:
    """Reports refused connections while the block runs. gRPC must not have been used before.

    A reason is reported with its first, second, fourth, eighth connection and so on, so that a
    program that tries again and again does not fill the log. All that other code writes to the
    standard error passes through. Nothing is changed if the user chose what gRPC logs.

    Args:
      say: Function that shows a line.
    """
    if os.environ.get(GRPC_VERBOSITY) not in (None, GRPC_SILENT):
        yield
        return
    os.environ[GRPC_VERBOSITY] = "INFO"
    original, python_stderr = os.dup(_STDERR), sys.stderr
    reads, writes = os.pipe()
    python_stderr.flush()
    os.dup2(writes, _STDERR)
    os.close(writes)
    reader = threading.Thread(target=_read, args=(reads, original, _Counter(say)), daemon=True)
    reader.start()
    # Python's own messages and progress bars do not go through the pipe.
    sys.stderr = os.fdopen(os.dup(original), "w", buffering=1, errors="backslashreplace")
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = python_stderr
        os.dup2(original, _STDERR)  # This ends the pipe.
        reader.join(1.0)


class _Counter:
    """Counts refused connections by reason, and reports some of them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, reason: str) -> None:
        self._counts[reason] += 1
        count = self._counts[reason]
        if count & (count - 1) == 0:
            times = f" ({count} times)" if count > 1 else ""
            self._say(f"a connection: {reason}{times}")


def _read(reads: int, original: int, counter: _Counter) -> None:
    """Reads the lines of a pipe, and passes on what gRPC has not written."""
    with open(reads, "rb") as lines:
        for line in lines:
            if _LOG_LINE.match(line) is None:
                os.write(original, line)
                continue
            reason = reason_of(line)
            if reason is not None:
                counter.add(reason)


def reason_of(line: bytes) -> str | None:
    """Returns why a connection was refused; None if a line of gRPC's log says something else."""
    found = _HANDSHAKE.search(line)
    if found is None:
        return None
    code, detail = found[1].decode(), (found[2] or b"").decode(errors="replace").strip()
    if code == "CERTIFICATE_VERIFY_FAILED":
        return f"its certificate is not accepted ({detail})"
    if "_ALERT_" in code:
        return f"it does not accept the coordinator's certificate ({_words(code)})"
    return _REASONS.get(code, f"the handshake failed ({_words(code)})")


def _words(code: str) -> str:
    return code.replace("_", " ").lower()
