"""A silo does what its operator approved, and nothing else."""

import dataclasses
import threading
import time

import numpy as np
import pytest

from tff_nlp import errors
from tff_nlp.deployment import connection, participation, policy, sent_log


def joined(silo):
    """Takes part in a thread, and returns the list that gets the silo's error."""
    caught = []

    def run():
        try:
            silo.take_part(5.0)
        except (errors.UserError, errors.RunError) as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return caught, thread


def test_other_weights_for_the_same_round_are_refused(make_federation):
    federation = make_federation(failed=1, seconds=10.0)
    *rest, careful = federation.names
    federation.start(rest)
    silo = federation.silo(careful)
    caught, thread = joined(silo)
    federation.invoke(np.zeros(3), 0)
    # The same weights again, as after a restart from a checkpoint.
    _, count = federation.invoke(np.zeros(3), 0)
    assert count == 5
    threading.Thread(target=lambda: federation.invoke(np.ones(3), 0), daemon=True).start()
    thread.join(40)
    assert "asks for round 1 again with other weights" in str(caught[0])


def test_more_rounds_than_approved_are_refused(make_federation):
    federation = make_federation(failed=5, seconds=8.0, rounds=2)
    silo = federation.silo("ash")
    caught, thread = joined(silo)
    threading.Thread(target=lambda: federation.invoke(np.zeros(3), 2), daemon=True).start()
    thread.join(40)
    assert "asks for round 3; approved are 2" in str(caught[0])
    log = sent_log.SentLog(federation.folder / "ash.jsonl")
    assert [entry["what"] for entry in log.entries] == ["refusal"]


def test_a_lower_threshold_than_approved_is_refused(make_federation):
    federation = make_federation(secure=True, threshold=3, failed=2, seconds=10.0)
    strict = federation.names[0]
    federation.plan = dataclasses.replace(federation.plan, threshold=4)
    # The coordinator's plan is the one that was approved, and it does not keep to it.
    federation.connections._plan_digest = federation.plan.digest
    silo = federation.silo(strict, policy.Policy(colluders=0))
    caught, thread = joined(silo)
    federation.start(federation.names[1:], limits=policy.Policy(colluders=0))
    threading.Thread(target=lambda: federation.invoke(np.zeros(3)), daemon=True).start()
    thread.join(40)
    assert "asks for a sum of 3 silos; approved are 4" in str(caught[0])


def test_a_session_that_does_not_meet_the_silos_demands_is_refused(make_federation):
    federation = make_federation(secure=True, failed=1, seconds=10.0)
    strict = federation.names[0]
    silo = federation.silo(strict, policy.Policy(colluders=3))
    joined(silo)
    federation.start(federation.names[1:])
    _, count = federation.invoke(np.zeros(3))
    assert count == 4
    assert any("refuses the session" in line for _, line in federation.lines)


def test_a_round_is_not_unmasked_with_other_silos_a_second_time(make_federation):
    federation = make_federation(secure=True, failed=1, seconds=10.0)
    federation.start(federation.names[1:])
    federation.invoke(np.zeros(3), 0)
    # The coordinator asks again, now with all silos. The difference of the two sums would be the
    # update of one silo.
    federation.start(federation.names[:1])
    time.sleep(0.5)
    thread = threading.Thread(target=lambda: federation.invoke(np.zeros(3), 0), daemon=True)
    thread.start()
    thread.join(6)
    assert thread.is_alive()
    assert any("was unmasked before, with" in line for _, line in federation.lines)
    assert federation.context.aborted >= 1


def test_a_silo_waits_for_a_coordinator_that_is_away_and_gives_up_in_the_end(make_federation):
    federation = make_federation()
    federation.port = 1  # Nobody listens there.
    silo = federation.silo("ash")
    began = time.monotonic()
    with pytest.raises(connection.AwayError, match="cannot be reached"):
        silo.take_part(2.0)
    assert time.monotonic() - began >= 2.0
    assert [word for word, _ in federation.lines] == ["waiting"]


def test_half_a_last_line_was_never_sent(tmp_path):
    path = tmp_path / "sent.jsonl"
    sent_log.SentLog(path).add("update", round=1, weights="a", plan="p")
    with path.open("a") as file:
        file.write('{"what": "upd')
    log = sent_log.SentLog(path)
    assert log.updates("p") == {(1, "a")}
    log.add("update", round=2, weights="b", plan="p")
    assert sent_log.SentLog(path).updates("p") == {(1, "a"), (2, "b")}


def test_half_a_line_of_a_round_is_forgotten(tmp_path):
    path = tmp_path / "participation.jsonl"
    participation.Participation(path, 0).add(1, ["ash"])
    with path.open("a") as file:
        file.write('{"round": 2, "si')
    known = participation.Participation(path, 2)
    assert (known.rounds, known.last("ash")) == (1, 1)
    known.add(2, ["ash"])
    assert participation.Participation(path, 2).last("ash") == 2


def test_a_damaged_record_is_named(tmp_path):
    path = tmp_path / "sent.jsonl"
    path.write_text('{"what": "upd\n')
    with pytest.raises(errors.UserError, match="sent.jsonl is damaged"):
        sent_log.SentLog(path)
