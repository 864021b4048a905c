"""What crosses the network, read by a proxy between a silo and the coordinator."""

import contextlib
import socket
import threading

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.deployment import conftest
from tff_nlp.execution import forms

_SIZE = 500_000


class Proxy:
    """Forwards connections, and keeps what passes."""

    def __init__(self, port):
        self.up, self.down = bytearray(), bytearray()
        self._target = port
        self._server = socket.create_server(("localhost", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                silo, _ = self._server.accept()
                coordinator = socket.create_connection(("localhost", self._target))
                for ends in ((silo, coordinator, self.up), (coordinator, silo, self.down)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source, target, kept):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                kept += data
                target.sendall(data)

    def close(self):
        self._server.close()


@pytest.fixture(scope="module")
def large():
    """A round with two megabytes in each direction."""
    vector = tff.TensorType(np.float32, [_SIZE])
    computation = conftest.mean(secure=False, vector=vector)
    return computation, forms.compile_round(computation)


def test_the_wire_has_the_stated_bytes_and_some_framing(make_federation, large):
    federation = make_federation(computed=large)
    rng = np.random.default_rng(0)
    for name in federation.names:
        federation.data[name] = rng.normal(size=(2, _SIZE)).astype(np.float32)
    watched, *others = federation.names
    proxy = Proxy(federation.port)
    try:
        federation.start(others)
        federation.port = proxy.port
        federation.start([watched])
        state, _ = federation.invoke(np.zeros(_SIZE))
    finally:
        proxy.close()
    sent = federation.plan.sent
    assert (sent["up"], sent["down"]) == (4 * _SIZE + 4, 4 * _SIZE)
    for seen, stated in ((proxy.up, sent["up"]), (proxy.down, sent["down"])):
        # The handshake and the small messages have some kilobytes; the pieces 0.5 % more.
        assert stated < len(seen) < 1.005 * stated + 8000
    # Everything is encrypted.
    update = federation.data[watched].mean(axis=0).astype(np.float32).tobytes()
    assert update[1000:1016] not in proxy.up
    assert b"Federation" not in proxy.up
