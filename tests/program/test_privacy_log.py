"""The privacy log keeps every release, also after kills and repeated rounds."""

import json

import numpy as np
import pytest

from tff_nlp import errors
from tff_nlp.privacy.guarantee import Guarantee
from tff_nlp.program.privacy_log import PrivacyLog

PROMISED = Guarantee("gaussian", 100, 10, "poisson", 1.0, 1e-3)


def opened(folder, rounds=0):
    log = PrivacyLog(folder / "privacy.jsonl", PROMISED)
    log.rewind(rounds)
    return log


def weights(number):
    return [np.full(3, number, np.float32), np.ones([2, 2], np.float32)]


def record(log, *numbers):
    return [log.record(n, [1, 2], {}, weights(n)).get("epsilon_rdp") for n in numbers]


def test_a_round_that_is_computed_again_with_the_same_release_counts_once(tmp_path):
    whole = record(opened(tmp_path), 1, 2, 3)
    resumed = opened(tmp_path, 1)
    assert record(resumed, 2, 3) == whole[1:]
    assert resumed.statement().rounds == 3 and resumed.statement().guaranteed
    assert len((tmp_path / "privacy.jsonl").read_text().splitlines()) == 3


def test_what_was_released_before_a_kill_is_never_dropped(tmp_path):
    """A resumed run must not drop released rounds and release them again with other noise."""
    record(opened(tmp_path), 1, 2, 3)
    resumed = opened(tmp_path, 1)
    assert resumed.statement().rounds == 3
    resumed.record(2, [1, 2], {}, weights(7))
    stated = resumed.statement()
    assert stated.rounds == 4 and not stated.guaranteed
    assert "round 2 was computed 2 times" in stated.line()
    # The next start does not drop it either.
    assert not opened(tmp_path, 2).statement().guaranteed


@pytest.mark.parametrize("content", ["{\n", "\xff\n", "[]\n", "{}\n"])
def test_a_damaged_log_is_refused_even_before_the_first_checkpoint(tmp_path, content):
    (tmp_path / "privacy.jsonl").write_bytes(content.encode("latin-1"))
    with pytest.raises(errors.UserError, match="privacy.jsonl"):
        opened(tmp_path)


def test_half_a_line_does_not_count(tmp_path):
    record(opened(tmp_path), 1)
    with (tmp_path / "privacy.jsonl").open("a") as file:
        file.write('{"round": 2, "cli')
    resumed = opened(tmp_path, 1)
    record(resumed, 2)
    lines = (tmp_path / "privacy.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1, 2]


@pytest.mark.parametrize("text", ["", "nonsense\n", '{"round": 1}\n'])
def test_a_lost_record_is_refused(tmp_path, text):
    (tmp_path / "privacy.jsonl").write_text(text)
    with pytest.raises(errors.UserError, match=r"privacy\.jsonl"):
        opened(tmp_path, 1)


def test_another_noise_than_the_one_accounted_for_ends_the_run(tmp_path):
    with pytest.raises(errors.RunError, match="noise multiplier is 0.5"):
        opened(tmp_path).record(1, [1], {"noise_multiplier": 0.5}, weights(1))
