import numpy as np
import pytest

from tff_nlp import errors
from tff_nlp.clients import devices, virtual_clock

HOUR = 3600.0


def _devices(clients, *, failure_rate=0.0, **others):
    same = np.ones([clients])
    values = {
        "examples_per_second": same,
        "download": same,
        "upload": same,
        "memory": np.inf * same,
        "from_hour": 0 * same,
        "to_hour": 24 * same,
        "failure_rate": failure_rate * same,
    }
    return devices.Devices(**{**values, **others})


def _rounds(durations, waiting, *, fixed=None, seed=0, **others):
    durations = np.asarray(durations, float)
    fixed = np.zeros(len(durations)) if fixed is None else np.asarray(fixed, float)
    found = _devices(len(durations), **others)
    return virtual_clock.SynchronousRounds(found, durations, fixed, waiting, seed)


def test_a_round_lasts_as_long_as_its_slowest_client():
    rounds = _rounds([3, 1, 2, 5], virtual_clock.Waiting(4))
    for number in range(3):
        found = rounds(number)
        assert found.clients.tolist() == [0, 1, 2, 3]
        assert found.seconds == 5 * (number + 1)
        assert (found.selected, found.late, found.vanished) == (4, 0, 0)


def test_the_fastest_of_those_who_were_asked_take_part():
    found = _rounds([3, 1, 2, 5], virtual_clock.Waiting(2, over_selection=2))(0)
    assert found.clients.tolist() == [1, 2]
    assert (found.seconds, found.selected, found.late) == (2, 4, 2)


def test_clients_after_the_deadline_are_late():
    found = _rounds([3, 1, 2, 5], virtual_clock.Waiting(4, deadline=2.5))(0)
    assert found.clients.tolist() == [1, 2]
    assert (found.seconds, found.late) == (2.5, 2)
    assert found.shares.tolist() == [1, 1]


def test_partial_work_is_what_the_deadline_leaves():
    waiting = virtual_clock.Waiting(4, deadline=3, partial=True)
    found = _rounds([3, 1, 4, 9], waiting, fixed=[1, 0.5, 1, 5])(0)
    # The third client has 2 of its 3 seconds; the fourth cannot even receive and send in time.
    assert found.clients.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.shares, [1, 1, 2 / 3])
    assert (found.seconds, found.late) == (3, 1)


def test_a_deadline_that_nobody_meets_is_refused():
    with pytest.raises(errors.UserError, match=r"^round_deadline=0.5: no client .* need 1.0 s"):
        _rounds([3, 1], virtual_clock.Waiting(2, deadline=0.5))(0)


def test_rounds_derive_from_the_seed_and_can_be_computed_again():
    waiting = virtual_clock.Waiting(5, over_selection=1.5)
    durations = np.random.default_rng(0).lognormal(size=40)

    def rounds(seed, number):
        found = _rounds(durations, waiting, failure_rate=0.3, seed=seed)(number)
        return [*found.clients, found.seconds, found.vanished]

    assert rounds(1, 7) == rounds(1, 7)
    assert rounds(1, 7) != rounds(2, 7)


def test_the_server_waits_until_enough_clients_are_available():
    hours = np.array([9.0, 9.0, 22.0, 22.0])
    rounds = _rounds(
        [10, 10, 10, 10], virtual_clock.Waiting(2), from_hour=hours, to_hour=(hours + 2) % 24
    )
    # No device is available at midnight. The evening devices end at 0.
    assert rounds(0).clients.tolist() == [0, 1]
    assert rounds(0).seconds == 9 * HOUR + 10
    many = virtual_clock.Waiting(3)
    with pytest.raises(errors.UserError, match="3 clients are wanted .* at most 2"):
        _rounds([1] * 4, many, from_hour=hours, to_hour=(hours + 2) % 24)(0)


def test_clients_with_too_little_memory_never_take_part():
    found = _devices(3, memory=np.array([1e9, 4e9, 4e9])).needing(2e9)
    assert found.available(0.0).tolist() == [False, True, True]
    assert "1 have less than the 2.00 GB" in found.describe()


def _buffered(durations, buffer, concurrency, **others):
    found = _devices(len(durations), **others)
    return virtual_clock.BufferedRounds(
        found, np.asarray(durations, float), buffer=buffer, concurrency=concurrency, seed=3
    )


def test_equal_devices_and_a_buffer_of_all_that_train_are_synchronous():
    rounds = _buffered([2.0] * 12, 4, 4)
    for number in range(4):
        found = rounds(number)
        assert len(found.clients) == 4
        assert found.begins.all()
        assert found.arrives.all()
        assert not found.staleness.any()
        assert found.seconds == 2.0 * (number + 1)


def test_so_many_updates_arrive_in_each_round_and_each_client_began_before():
    rounds = _buffered(np.random.default_rng(1).lognormal(size=60), 5, 12)
    began, before, staleness = {}, 0.0, []
    for number in range(30):
        found = rounds(number)
        assert found.arrives.sum() == 5
        assert found.seconds >= before
        before = found.seconds
        for client, begins, arrives, stale in zip(
            found.clients, found.begins, found.arrives, found.staleness, strict=True
        ):
            if begins:
                assert client not in began
                began[client] = number
            if arrives:
                assert number - began.pop(client) == stale
                staleness.append(stale)
        # One client begins for each update that arrives, except for the last one of a buffer.
        assert len(began) in (11, 12)
    assert max(staleness) > 2


def test_vanished_clients_are_replaced():
    rounds = _buffered(np.random.default_rng(1).lognormal(size=60), 5, 12, failure_rate=0.5)
    found = [rounds(number) for number in range(20)]
    assert all(one.arrives.sum() == 5 for one in found)
    assert sum(one.vanished for one in found) > 50


def test_clients_begin_when_they_are_available():
    # Two are available in the morning, the others in the evening.
    from_hour = np.array([8.0, 8.0, 20.0, 20.0, 20.0])
    rounds = _buffered([HOUR] * 5, 1, 2, from_hour=from_hour, to_hour=from_hour + 2)
    assert [rounds(number).seconds / HOUR for number in range(6)] == [9, 9, 10, 10, 21, 21]


def test_fedbuff_with_too_few_clients_is_refused():
    with pytest.raises(errors.UserError, match="concurrency=8: fedbuff needs 12 clients .* are 11"):
        _buffered([1.0] * 11, 4, 8)
