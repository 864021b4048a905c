"""--secure_aggregation: the protocol gives what the plain integer sums give."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.experiments.test_resume import check_same
from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import (
    demands,
    messages,
    refusals,
    session,
    simulation,
)
from tff_nlp.execution import forms, ledger, streaming
from tff_nlp.runs import configs, secure_rounds

SMALL = {
    "num_clients": 8,
    "clients_per_round": 6,
    "partition": "iid",
    "rounds": 2,
    "client_test_fraction": 0,
    "trainable": "head",
}
# So that two of five clients may vanish.
ALONE = demands.Demands(fewest_clients=4, colluders=0)


@pytest.mark.slow
def test_masked_and_plain_sums_train_the_same_bits(tmp_path, run_train):
    for kind in ("plain", "masked"):
        ended = run_train(tmp_path / kind, **SMALL, secure_aggregation=kind)
        assert ended.code == 0, ended.err
    check_same(tmp_path / "masked", tmp_path / "plain", SMALL["rounds"])
    plain, masked = (
        json.loads((tmp_path / kind / "result.json").read_text())["bytes_per_client"]
        for kind in ("plain", "masked")
    )
    assert plain["up"] == masked["up"] > 0
    assert masked["other_up"] > plain["other_up"] + 140 * 2


@pytest.fixture
def masked():
    def begin(clients, vectors):
        shapes = [session.Vector(*vector) for vector in vectors]
        return secure_rounds._Masked(simulation.Round(clients, shapes, 3, demanded=ALONE))

    return begin


def secure_sums():
    """All three secure sums, of values that name their client; -1 is refused by the ranges."""
    clients = tff.FederatedType(tff.TensorType(np.int32, [3]), tff.CLIENTS)

    @tff.federated_computation(clients)
    def sums(values):
        return (
            tff.federated_secure_sum_bitwidth(values, 10),
            tff.federated_secure_sum(values, 900),
            tff.backends.mapreduce.federated_secure_modular_sum(values, 1000),
        )

    return sums


def test_all_three_kinds_of_secure_sums(masked):
    values = [np.array([n, 100 * n, 700], np.int32) for n in range(5)]
    results = []
    for protocols in (None, masked):
        context = streaming.StreamingContext(["/CPU:0"] * 2, protocols=protocols)
        with tff.framework.get_context_stack().install(context):
            results.append([tf.convert_to_tensor(r).numpy() for r in secure_sums()(values)])
    for plain, hidden in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, hidden)
        assert plain.dtype == hidden.dtype
    np.testing.assert_array_equal(results[1][0], [10, 1000, 3500])
    np.testing.assert_array_equal(results[1][2], [10, 0, 500])


def test_the_ledger_counts_what_is_sent():
    sent = []

    class Recorded(secure_rounds._Masked):
        def finish(self):
            result = self._current.finish()
            sent.append(sum(result.bytes_up[0].values()))
            return result.sums

    def begin(clients, vectors):
        shapes = [session.Vector(*vector) for vector in vectors]
        return Recorded(simulation.Round(clients, shapes, 3, demanded=ALONE))

    context = streaming.StreamingContext(["/CPU:0"], protocols=begin)
    values = [np.array([n, 100 * n, 700], np.int32) for n in range(5)]
    with tff.framework.get_context_stack().install(context):
        secure_sums()(values)
    counted = ledger.of_form(
        forms.compile_round(secure_sums()),
        cohort=5,
        overhead=lambda sizes: messages.overhead(5, len(sizes)),
    )
    assert sent == [counted.up]


def test_clients_that_fail_drop_out_until_the_threshold(masked):
    values = [np.array([n, -1 if n < 2 else 1, 0], np.int32) for n in range(5)]
    for lost, ends in ((values, None), (values[:4], refusals.SecureAggregationAborted)):
        context = streaming.StreamingContext(["/CPU:0"] * 2, protocols=masked, max_failed_clients=2)
        with tff.framework.get_context_stack().install(context):
            if ends is None:
                total = secure_sums()(lost)[0]
                np.testing.assert_array_equal(total, [9, 3, 0])
                assert context.failed_clients == (0, 1)
            else:
                with pytest.raises(ends):
                    secure_sums()(lost)


@pytest.mark.parametrize(
    ("colluders", "threshold", "accepted"), [(None, 5, False), (None, 6, True), (0, 5, True)]
)
def test_the_flags_reach_the_clients(colluders, threshold, accepted):
    run = types.SimpleNamespace(
        federated=configs.FederatedConfig(
            secure_aggregation="masked",
            secure_aggregation_threshold=threshold,
            secure_aggregation_colluders=colluders,
        )
    )
    begin = secure_rounds.protocols(run)
    if accepted:
        assert begin(range(9), [(1, 8)])
    else:
        with pytest.raises(errors.UserError, match="secure_aggregation_threshold=5"):
            begin(range(9), [(1, 8)])


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"dp": "gaussian", "noise_multiplier": 1}, "--secure_aggregation=masked"),
        ({"context": "tff", "devices": None}, "--secure_aggregation=masked"),
        ({"sampling": "poisson"}, "--secure_aggregation=masked"),
        ({"secure_aggregation_threshold": 7}, "--secure_aggregation_threshold=7: is not from"),
        ({"secure_aggregation_threshold": 3}, "--secure_aggregation_threshold=3: must be at"),
        ({"secure_aggregation_threshold": 1}, "--secure_aggregation_threshold=1: must be 2"),
        ({"secure_aggregation_colluders": 5}, "--secure_aggregation_colluders=5: leaves a c"),
        ({"secure_aggregation_colluders": -1}, "--secure_aggregation_colluders=-1: must be 0"),
        ({"clients_per_round": 4}, "--clients_per_round=4: a masked sum is over 5 clients"),
        (
            {"secure_aggregation": "plain", "secure_aggregation_threshold": 3},
            "--secure_aggregation_threshold=3: only",
        ),
        (
            {"secure_aggregation": "none", "secure_aggregation_colluders": 0},
            "--secure_aggregation_colluders=0: only",
        ),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, run_train, changes, flag):
    ended = run_train(tmp_path / "run", **{**SMALL, "secure_aggregation": "masked", **changes})
    assert ended.code == 2 and flag in ended.err
    assert not (tmp_path / "run").exists()
