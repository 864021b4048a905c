"""The coordinator refuses what does not belong to the round, and goes on."""

import hashlib
import threading
import time

import grpc
import numpy as np
import pytest

from tff_nlp import errors
from tff_nlp.deployment import certificates, connection, pieces, service
from tff_nlp.deployment import federation_pb2 as pb


@pytest.fixture
def waiting(make_federation):
    """A federation in a round that waits for the update of one silo, and the task of that silo."""
    federation = make_federation()
    last = federation.names[-1]
    federation.start(federation.names[:-1])
    link = connection.Connection(federation.address, certificates.load(federation.keys[last]))
    results = []
    thread = threading.Thread(target=lambda: results.append(federation.invoke(np.zeros(3))))
    thread.start()
    tasks = link.attend(federation.plan.digest, b"by hand")
    task = next(t for t in tasks if t.kind == pb.Task.TRAIN)
    federation.hand = (link, task, tasks, results, thread)
    return federation


# The count of an update comes first.
UPDATE = np.array([7, 1, 2, 3], np.float32).tobytes()


def sent(task, content=UPDATE, digest=None, attempt=None):
    yield pb.Piece(attempt=attempt or task.attempt)
    yield pb.Piece(content=content)
    yield pb.Piece(digest=hashlib.sha256(content).digest() if digest is None else digest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content": UPDATE[:-1]}, "15 of 16 bytes of an update arrived"),
        ({"content": UPDATE + b"0"}, "more than the 16 bytes of an update arrived"),
        ({"content": UPDATE * 10**6}, "more than the 16 bytes of an update arrived"),
        ({"digest": b"0" * 32}, "are not those that were sent"),
        ({"digest": b""}, "are not those that were sent"),
        ({"attempt": pb.Attempt(round=1, attempt=b"old")}, "an attempt of round 1 that is over"),
        ({"attempt": pb.Attempt(round=9)}, "an attempt of round 9 that is over"),
    ],
)
def test_a_changed_upload_is_refused_and_the_right_one_still_counts(waiting, change, message):
    link, task, tasks, results, thread = waiting.hand
    with pytest.raises(connection.RoundOverError, match=message):
        link.upload(sent(task, **change), 10)
    assert any(word == "refused" and message in line for word, line in waiting.lines)
    link.upload(sent(task), 10)
    thread.join(10)
    ((state, count),) = results
    assert count == 4 + 7


def test_a_replayed_upload_is_refused(waiting):
    link, task, tasks, results, thread = waiting.hand
    link.upload(sent(task), 10)
    thread.join(10)
    with pytest.raises(connection.RoundOverError, match="that is over"):
        link.upload(sent(task), 10)


def test_a_second_upload_in_the_same_round_is_refused(make_federation):
    federation = make_federation()
    federation.start(federation.names[:-2])
    last = federation.names[-2]
    link = connection.Connection(federation.address, certificates.load(federation.keys[last]))
    other = connection.Connection(
        federation.address, certificates.load(federation.keys[federation.names[-1]])
    )
    thread = threading.Thread(target=lambda: federation.invoke(np.zeros(3)), daemon=True)
    thread.start()
    held = other.attend(federation.plan.digest, b"another")
    next(held)
    task = next(t for t in link.attend(federation.plan.digest, b"x") if t.kind == pb.Task.TRAIN)
    link.upload(sent(task), 10)
    with pytest.raises(connection.RoundOverError, match="has sent its update"):
        link.upload(sent(task), 10)


def test_an_upload_that_is_cut_leaves_the_round_open(waiting):
    link, task, tasks, results, thread = waiting.hand

    def cut():
        yield pb.Piece(attempt=task.attempt)
        yield pb.Piece(content=UPDATE[:5])
        raise OSError("the network is gone")

    with pytest.raises((connection.AwayError, connection.RoundOverError, OSError)):
        link.upload(cut(), 10)
    link.upload(sent(task), 10)
    thread.join(10)
    assert len(results) == 1


def test_two_silos_may_not_have_one_name(make_federation):
    federation = make_federation()
    own = certificates.load(federation.keys["ash"])
    one, two = (connection.Connection(federation.address, own) for _ in range(2))
    first = one.attend(federation.plan.digest, b"one")
    next(first)
    with pytest.raises(connection.TakenError, match="another process takes part as ash"):
        next(two.attend(federation.plan.digest, b"two"))
    # The first one keeps its seat, until it is gone.
    assert federation.connections.attendance.present() == ("ash",)
    one.close()
    ends = time.monotonic() + 10
    while federation.connections.attendance.present() and time.monotonic() < ends:
        time.sleep(0.05)
    next(two.attend(federation.plan.digest, b"two"))


def test_a_silo_with_another_plan_is_refused(make_federation):
    federation = make_federation()
    link = connection.Connection(federation.address, certificates.load(federation.keys["ash"]))
    with pytest.raises(errors.UserError, match="has approved another plan"):
        next(link.attend(b"other", b"one"))


def test_the_coordinators_own_keys_are_no_silo(make_federation):
    federation = make_federation()
    own = certificates.load(federation.keys["coordinator"])
    link = connection.Connection(federation.address, own)
    # Its certificate is for servers only.
    with pytest.raises((errors.UserError, connection.AwayError)):
        link.describe()


def test_a_certificate_of_another_authority_is_refused(make_federation, tmp_path):
    federation = make_federation()
    others = certificates.enrol(tmp_path / "others", ["ash", "birch"], ["localhost"])
    link = connection.Connection(federation.address, certificates.load(others["ash"]))
    with pytest.raises(errors.UserError, match="does not accept the other's certificate"):
        link.describe()
    assert federation.connections.attendance.present() == ()


def test_nobody_gets_in_without_a_certificate(make_federation):
    federation = make_federation()
    own = certificates.load(federation.keys["ash"])
    blank = grpc.ssl_channel_credentials(own.authority)
    for channel in (
        grpc.secure_channel(federation.address, blank),
        grpc.insecure_channel(federation.address),
    ):
        call = channel.unary_unary(f"/{service.NAME}/Describe")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=5)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_message_that_is_too_large_is_refused(make_federation):
    federation = make_federation()
    own = certificates.load(federation.keys["ash"])
    link = connection.Connection(federation.address, own)
    huge = pb.Failure(reason="x" * (service.MOST_MESSAGE_BYTES + 1))
    with pytest.raises((connection.AwayError, errors.RunError)):
        link.report(huge)


def test_bytes_that_are_no_message_are_refused(make_federation):
    federation = make_federation()
    own = certificates.load(federation.keys["ash"])
    secure = grpc.ssl_channel_credentials(own.authority, own.key, own.certificate)
    channel = grpc.secure_channel(federation.address, secure)
    for method in ("Attend", "Fetch", "Exchange", "Report", "Upload"):
        call = channel.unary_unary(f"/{service.NAME}/{method}")
        with pytest.raises(grpc.RpcError):
            call(b"\xff\xff\xff\xff no message", timeout=5)
    assert connection.Connection(federation.address, own).describe()


def test_a_port_that_is_taken_is_named(make_federation):
    federation = make_federation()
    with pytest.raises(errors.UserError, match=rf"listen=localhost:{federation.port}: cannot be"):
        service.start(
            federation.connections,
            certificates.load(federation.keys["coordinator"]),
            federation.address,
        )


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", "host:x", ":80", "h:99999"])
def test_an_address_must_have_host_and_port(address):
    with pytest.raises(errors.UserError, match="must be host:port"):
        service.split_address(address, "listen")


def test_the_digest_of_pieces_is_that_of_their_bytes():
    tensors = [np.arange(5, dtype=np.int32), np.float32(2.5)]
    joined = b"".join(tensor.tobytes() for tensor in tensors)
    assert pieces.digest(tensors) == hashlib.sha256(joined).digest()
    assert b"".join(pieces.encode(tensors)) == joined
