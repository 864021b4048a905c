"""FedSA-LoRA: A is the mean over clients, and each client keeps and continues its own B."""

import numpy as np
import pytest

from tests.learning import quadratics
from tests.learning.conftest import begin, client
from tests.learning.test_factor_rounds import LOCAL, adapted
from tff_nlp import errors
from tff_nlp.execution import forms, ledger
from tff_nlp.learning import client_input, composition
from tff_nlp.learning.algorithms import fed_avg, fed_sa
from tff_nlp.models.adapters import names
from tff_nlp.privacy import mechanism
from tff_nlp.tasks import classification

EXAMPLES = (8, 4)


@pytest.mark.thorough
def test_two_rounds_are_those_of_the_clients_alone():
    model = adapted(names.FEDSA)
    task = classification.classification(model)
    process = fed_sa.fed_sa(task, LOCAL)
    state = composition.initial_state(process, task)
    # The oracle: FedAvg of one client at a time, from the shared A and head and the client's own B.
    alone, of_one = begin(model, LOCAL)
    data = [client(model, seed, examples) for seed, examples in enumerate(EXAMPLES)]
    places = [factors.b for factors in model.factors]
    kept = [process.client_specs for _ in data]
    own = [list(model.initial_weights()[0]) for _ in data]
    for _ in range(2):
        shared = process.get_model_weights(state)
        ends = []
        for number, batches in enumerate(data):
            start = list(shared.trainable)
            for place in places:
                start[place] = own[number][place]
            of_one = alone.set_model_weights(of_one, shared._replace(trainable=tuple(start)))
            ends.append(alone.get_model_weights(alone.next(of_one, [batches]).state).trainable)
            own[number] = list(ends[-1])
        output = process.next(
            state,
            [client_input.with_values(d, state=k) for d, k in zip(data, kept, strict=True)],
        )
        state, kept = output.state, output.clients
        after = process.get_model_weights(state).trainable
        for index, value in enumerate(after):
            if index in places:
                assert not np.any(value)  # the first B, which is untrained
                continue
            mean = np.average([end[index] for end in ends], axis=0, weights=EXAMPLES)
            np.testing.assert_allclose(value, mean, atol=1e-5)
        for end, state_of_client in zip(ends, kept, strict=True):
            for place, value in zip(places, state_of_client, strict=True):
                np.testing.assert_allclose(value, end[place], atol=1e-5)
                assert np.any(value)


@pytest.mark.thorough
def test_b_is_neither_sent_nor_received():
    model = adapted(names.FEDSA)
    task = classification.classification(model)
    ours, theirs = (
        ledger.of_form(forms.compile_round(algorithm(task, LOCAL).next))
        for algorithm in (fed_sa.fed_sa, fed_avg.fed_avg)
    )
    specs = task.weight_specs()[0]
    held = sum(4 * specs[factors.b].shape.num_elements() for factors in task.factors)
    assert (theirs.up - ours.up, theirs.down - ours.down) == (held, held)
    assert ours.once - theirs.once == held  # their first values, zeros


def test_what_does_not_go_together():
    with pytest.raises(errors.UserError, match="lora_aggregation=fedsa: needs adapter=lora"):
        fed_sa.fed_sa(quadratics.task())
    private = mechanism.build_aggregator(
        mechanism.Mechanism("distributed", noise_multiplier=1.0, clients_per_round=2)
    )
    task = classification.classification(adapted(names.FEDSA))
    with pytest.raises(errors.UserError, match="lora_aggregation=fedsa: .*dp=distributed.*=ffa"):
        fed_sa.fed_sa(task, aggregator=private)
