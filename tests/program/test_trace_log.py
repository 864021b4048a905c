"""The log of an audit's traces, before and after a stop."""

import numpy as np
import pytest

from tff_nlp import errors
from tff_nlp.privacy import canaries, round_traces
from tff_nlp.program import trace_log

SHAPES = ((30,), (5, 4))
# Positions 8 and above are canaries 0, 1, 2, ...
COHORTS = ([0, 8, 9], [8, 3, 10], [5])


def releases(auditor):
    """Returns the mean of the canaries' updates, with some noise."""
    generator = np.random.default_rng(1)
    for cohort in COHORTS:
        total = [generator.standard_normal(shape) for shape in SHAPES]
        for client in cohort:
            if client >= auditor.clients:
                sent = canaries.canary(auditor.seed, client - auditor.clients, SHAPES)
                total = [t + s for t, s in zip(total, sent, strict=True)]
        yield cohort, [np.float32(0.5 / auditor.denominator * t) for t in total]


def write(log, auditor, first=0):
    for number, (cohort, released) in enumerate(releases(auditor), start=1):
        if number > first:
            log.record(number, cohort, released, 0.5)


@pytest.fixture(params=[0.5, None], ids=["fixed norm", "measured norm"])
def auditor(request):
    return trace_log.Auditor(seed=3, clients=8, denominator=4.0, clipping_norm=request.param)


def test_releases_are_read_in_clipping_norms(tmp_path, auditor):
    log = trace_log.TraceLog(tmp_path / "private" / "traces.jsonl", auditor)
    log.rewind(0)
    write(log, auditor)
    assert [t.canaries for t in log.traces] == [(0, 1), (0, 2), ()]
    # The second round has one new canary; the third round has none.
    lengths = [t.newcomers for t in log.traces]
    one, both = (canaries.canary(3, n, SHAPES) for n in (0, 1))
    pair = [a + b for a, b in zip(one, both, strict=True)]
    assert lengths == pytest.approx([sum(np.sum(p**2) for p in pair), 1.0, 0.0], rel=1e-5)
    # Only the noise remains.
    generator = np.random.default_rng(1)
    for trace in log.traces:
        noise = [np.sum(generator.standard_normal(shape) ** 2) for shape in SHAPES]
        assert trace.squares == pytest.approx(noise, rel=1e-4)
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700


def test_a_stop_leaves_the_same_record(tmp_path, auditor):
    paths = [tmp_path / name / "traces.jsonl" for name in ("whole", "stopped")]
    for path in paths:
        log = trace_log.TraceLog(path, auditor)
        log.rewind(0)
        write(log, auditor)
    # The checkpoint is from round 1, and the kill left half a line.
    paths[1].write_text(paths[1].read_text()[:-20])
    log = trace_log.TraceLog(paths[1], auditor)
    log.rewind(1)
    assert len(log.traces) == 1 and isinstance(log.traces[0], round_traces.Trace)
    write(log, auditor, first=1)
    assert paths[0].read_text() == paths[1].read_text()


@pytest.mark.parametrize("left", [b"", b"{}\n", b'{"round": 1}\n', b"[1]\n", b"\xff\n", b"7\n"])
def test_a_log_with_missing_rounds_is_refused(tmp_path, auditor, left):
    path = tmp_path / "traces.jsonl"
    path.write_bytes(left)
    with pytest.raises(errors.UserError, match=r"traces\.jsonl should have a line for each of the"):
        trace_log.TraceLog(path, auditor).rewind(1)
    assert path.read_bytes() == left


def test_a_clipping_norm_that_was_not_measured(tmp_path):
    auditor = trace_log.Auditor(seed=3, clients=8, denominator=4.0, clipping_norm=None)
    log = trace_log.TraceLog(tmp_path / "traces.jsonl", auditor)
    with pytest.raises(errors.RunError, match="round 1: the aggregator measured no clipping norm"):
        log.record(1, [0], [np.zeros(3, np.float32)], None)
