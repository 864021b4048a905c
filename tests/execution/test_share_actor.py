"""The actor, without Ray, gives the streaming context's sums from clients in pieces."""

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.execution.conftest import cohort, run_in
from tests.execution.test_streaming import _failing, _fed_avg, add_up
from tff_nlp.execution import forms, graphs, secure_sums, share_actor, structures, transport


@pytest.fixture(scope="module")
def actor():
    return share_actor.ShareActor(num_lanes=2, threads=2, gpu=False)


class Share:
    """Sends clients to an actor as `ray_round` does, one client per piece."""

    def __init__(self, actor, computation, state, data, token):
        form = forms.compile_round(computation)
        packed = transport.pack_form(form, secure_sums.summands_of(form))
        self.form, self._actor, self._token = form, actor, token
        broadcast = graphs.wrap(form.prepare)(structures.flatten(state, form.state_type))
        sent = transport.to_arrays(broadcast, structures.flatten_types(form.prepare.result_type))
        actor.begin(token, token, packed, sent)
        types = list(structures.flatten_types(form.data_type))
        self._data = [
            transport.to_arrays(structures.flatten(d, form.data_type), types) for d in data
        ]

    def run(self, lane, piece, *positions):
        clients = [(p, self._data[p]) for p in positions]
        return self._actor.run(self._token, lane, piece, clients)

    def sums(self):
        _, sums = self._actor.finish(self._token)
        return sums.accumulator, sums.secure


@pytest.mark.thorough
def test_two_lanes_give_the_streaming_contexts_bits(actor, context):
    process = _fed_avg()
    state = run_in(context, process.initialize)
    share = Share(actor, process.next, state, cohort(), token=1)
    # `lane_runs.share` divides clients of 3, 2, 1, 4 and 1 batches among two lanes like this.
    assert share.run(0, 0, 3) == share.run(1, 0, 0, 1) == []
    assert share.run(0, 1, 2) == share.run(0, 2, 4) == []
    accumulator, secure = share.sums()
    form = share.form
    flat = structures.flatten(state, form.state_type)
    aggregate = graphs.wrap(form.report)([np.asarray(a) for a in accumulator])
    outputs = graphs.wrap(form.update)([*flat, *aggregate, *secure])
    expected = run_in(context, process.next, state, list(cohort()))
    after = structures.flatten(expected.state, form.state_type)
    for a, b in zip(outputs, after, strict=False):
        np.testing.assert_array_equal(a, b)


def test_clients_that_fail_are_named_and_left_out(actor):
    @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
    def total(values):
        return tff.federated_secure_sum(values, 10)

    share = Share(actor, total, (), [1, 20, 3], token=2)
    assert share.run(0, 0, 0) == []
    ((position, reason),) = share.run(1, 0, 1, 2)
    assert position == 1
    assert "0 to 10 got the input" in reason
    _, secure = share.sums()
    assert [int(s) for s in secure] == [4]


def test_pieces_must_come_in_order_and_of_the_share_at_hand(actor):
    data = [_failing(None)(i, [i, i]) for i in range(3)]
    share = Share(actor, add_up, 0, data, token=3)
    with pytest.raises(RuntimeError, match="piece 1 came when 0"):
        share.run(0, 1, 0)
    later = Share(actor, add_up, 0, data, token=4)
    assert share.run(0, 0, 0) == []
    assert later.run(0, 0, 1) == []
    with pytest.raises(RuntimeError, match="not the one that began"):
        share.sums()
    assert [int(np.sum(a)) for a in later.sums()[0]] == [2]


def test_a_stopped_share_takes_no_more_clients(actor):
    share = Share(actor, add_up, 0, [[1], [2]], token=5)
    share.run(0, 0, 0)
    actor.stop()
    assert share.run(0, 1, 1) == []
    with pytest.raises(RuntimeError):
        share.sums()
