import errno
import select
import socket
import time

import pytest

from tff_nlp.serving.service import listening


@pytest.fixture
def listener():
    with listening.bind("127.0.0.1", 0, only_local=True) as bound:
        bound.listen(8)
        yield bound


def test_who_waits_is_kept_and_nobody_else_comes_in(listener):
    address = listener.getsockname()
    with socket.create_connection(address) as early, socket.socket() as late:
        listening.let_nobody_in(listener)
        late.setblocking(False)
        late.connect_ex(address)
        time.sleep(0.1)
        accepted, peer = listener.accept()
        assert peer == early.getsockname()
        with pytest.raises(BlockingIOError):
            listener.accept()
        early.sendall(b"question")
        with accepted:
            accepted.setblocking(True)
            assert accepted.recv(8) == b"question"
            accepted.sendall(b"answer")
        assert early.recv(6) == b"answer"
        listener.close()
        # The kernel of the late client tries again after a second.
        select.select([], [late], [], 5)
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_the_filter_holds_for_all_processes_of_a_socket(listener):
    shared = listener.dup()
    listening.let_nobody_in(shared)
    shared.close()
    with socket.socket() as late:
        late.settimeout(0.2)
        with pytest.raises(TimeoutError):
            late.connect(listener.getsockname())
