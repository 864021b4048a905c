"""The coordinator says why a connection was refused before any call."""

import socket
import ssl
import subprocess
import sys

import pytest

from tests.deployment.conftest import free_port
from tff_nlp.deployment import certificates, refused_connections

_SERVER = """
import concurrent.futures, os, pathlib, sys
from tff_nlp.deployment import certificates, refused_connections

with refused_connections.reported(lambda line: print(line, flush=True)):
    import grpc
    own = certificates.load(pathlib.Path(sys.argv[1]))
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    secure = grpc.ssl_server_credentials([(own.key, own.certificate)], own.authority, True)
    server.add_secure_port("localhost:" + sys.argv[2], secure)
    server.start()
    os.write(2, b"half a line")
    os.write(2, b" of other code\\n")
    print("of Python", file=sys.stderr)
    print("ready", flush=True)
    sys.stdin.read()
    server.stop(0).wait()
print("afterwards", file=sys.stderr)
"""


def connect(port, authority, identity=None):
    """Tries a handshake, and reads until the other end closes the connection."""
    context = ssl.create_default_context(cadata=authority)
    context.set_alpn_protocols(["h2"])
    if identity is not None:
        context.load_cert_chain(identity / "cert.pem", identity / "key.pem")
    with socket.create_connection(("localhost", port), timeout=10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                while secure.recv(4096):
                    pass
        except OSError:
            pass


@pytest.fixture
def server(tmp_path):
    """A server with the coordinator's keys: its process, its port, its authority."""
    keys = certificates.enrol(tmp_path / "keys", ["ash", "birch"], ["localhost"])
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(keys["coordinator"]), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    yield process, port, certificates.load(keys["ash"]).authority.decode()
    process.kill()
    process.communicate()


def test_each_reason_has_a_line_and_other_messages_pass(server, tmp_path):
    process, port, authority = server
    others = certificates.enrol(tmp_path / "others", ["ash", "birch"], ["localhost"])
    connect(port, authority)
    assert process.stdout.readline() == "a connection: it shows no certificate\n"
    connect(port, authority, others["ash"])
    assert "its certificate is not accepted (unable to get" in process.stdout.readline()
    connect(port, certificates.load(others["ash"]).authority.decode(), others["ash"])
    assert "the handshake failed" in process.stdout.readline()
    for _ in range(3):
        connect(port, authority)
    assert process.stdout.readline() == "a connection: it shows no certificate (2 times)\n"
    assert process.stdout.readline() == "a connection: it shows no certificate (4 times)\n"
    out, err = process.communicate("", timeout=20)
    assert out == ""
    assert sorted(err.splitlines()) == ["afterwards", "half a line of other code", "of Python"]
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (b"HTTP_REQUEST: y", "it speaks HTTP without TLS"),
        (b"NO_SHARED_CIPHER", "the handshake failed (no shared cipher)"),
        (
            b"SSLV3_ALERT_CERTIFICATE_EXPIRED: y",
            "it does not accept the coordinator's certificate (sslv3 alert certificate expired)",
        ),
    ],
)
def test_reasons(code, reason):
    line = b"Handshake failed with error X: error:1:SSL routines:OPENSSL_internal:" + code
    assert refused_connections.reason_of(line) == reason


def test_other_lines_have_no_reason():
    assert refused_connections.reason_of(b"Log level INFO is not suitable for production.") is None
