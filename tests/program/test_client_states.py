"""Client states are stored by id and round, and only for clients that took part."""

import numpy as np
import pytest

from tff_nlp import errors
from tff_nlp.program.client_states import ClientStates

LIKE = [np.zeros(3, np.float32), np.zeros([], np.int64)]
ODD = ("a", "A", "é/../..", "\udcff", "")


def state(number):
    return [np.full(3, number, np.float32), np.int64(number)]


def numbers(states, *clients):
    found = [states.load(client, LIKE) for client in clients]
    return [None if own is None else int(own[1]) for own in found]


def test_an_id_may_contain_any_characters(tmp_path):
    states = ClientStates(tmp_path / "states")
    for number, client in enumerate(ODD):
        states.save(client, number + 1, state(number))
    assert numbers(ClientStates(tmp_path / "states"), *ODD, "b") == [0, 1, 2, 3, 4, None]
    np.testing.assert_array_equal(states.load("é/../..", LIKE)[0], [2, 2, 2])


def test_going_back_to_a_checkpoint(tmp_path):
    states = ClientStates(tmp_path)
    for number in (1, 3, 5):
        states.save("a", number, state(number))
    states.save("b", 5, state(5))
    for checkpoint, expected in ((5, [5, 5]), (4, [3, None]), (2, [1, None]), (0, [None, None])):
        again = ClientStates(tmp_path)
        again.rewind(checkpoint)
        assert numbers(again, "a", "b") == expected
        assert numbers(ClientStates(tmp_path), "a", "b") == expected


def test_states_that_no_checkpoint_needs_are_removed(tmp_path):
    states = ClientStates(tmp_path)
    for number in (1, 3, 5):
        states.save("a", number, state(number))
    states.forget_before(4)  # A run that resumes after round 4 needs the state of round 3.
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    states.rewind(4)
    assert numbers(states, "a") == [3]


def test_a_hundred_of_a_hundred_thousand(tmp_path):
    states = ClientStates(tmp_path)
    for client in range(100_000):
        if client % 1000 == 0:
            states.save(f"user {client}", 1, state(client))
    assert len(list(tmp_path.iterdir())) == 100
    again = ClientStates(tmp_path)
    assert numbers(again, "user 5000", "user 5001") == [5000, None]


def test_a_damaged_or_foreign_state_is_one_line(tmp_path):
    ClientStates(tmp_path, "one run").save("a", 1, state(1))
    with pytest.raises(errors.UserError, match="is not what this run saved"):
        ClientStates(tmp_path, "another").load("a", LIKE)
    path = next(tmp_path.rglob("*.npz"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(errors.UserError, match="is damaged") as raised:
        ClientStates(tmp_path, "one run").load("a", LIKE)
    assert "\n" not in str(raised.value)
