"""What would make a printed epsilon or a secure sum untrue is refused where it is composed."""

import dataclasses
import functools

import pytest
import tensorflow_federated as tff
import tensorflow_privacy as tfp

from tests.learning import quadratics
from tff_nlp import errors
from tff_nlp.aggregation.compression.coded_mean import CodedMeanFactory
from tff_nlp.aggregation.compression.coding import Coding
from tff_nlp.aggregation.compression.rounding import Rounding
from tff_nlp.learning import composition
from tff_nlp.learning.algorithms import fed_avg, fed_prox, mime_lite, scaffold
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.learning.transforms.example_privacy import ExamplePrivacy
from tff_nlp.privacy import (
    aggregator_properties,
    contract,
    contract_terms,
    mechanism,
    names,
    properties,
    releases,
)

MECHANISMS = {
    name: mechanism.build_aggregator(mechanism.Mechanism(name, 1.0, 40))
    for name in names.CLIENT_LEVEL
}
MECHANISMS["audited"] = releases.ReleasingFactory(MECHANISMS[names.GAUSSIAN])
MECHANISMS["TFF's"] = tff.aggregators.DifferentiallyPrivateFactory.gaussian_fixed(1.0, 2, 1.0)
MECHANISMS["TFF's, with zeroing"] = tff.learning.dp_aggregator(1.0, 40)
QUERY = tfp.NormalizedQuery(tfp.GaussianSumQuery(1.0, 1.0), 4.0)
ALGORITHMS = {
    "fedavg": fed_avg.fed_avg,
    "fedprox": fed_prox.fed_prox,
    "scaffold": functools.partial(scaffold.scaffold, population=2),
    "mime_lite": mime_lite.mime_lite,
}
# SCAFFOLD adds up what its aggregator returns, and so needs an exact one.
ADDING_NOTHING_UP = [name for name in ALGORITHMS if name != "scaffold"]
UNIFORM = LocalWork(ClientOptimizer("sgd", 0.1), weighting="uniform")
BY_EXAMPLE = dataclasses.replace(UNIFORM, example_privacy=ExamplePrivacy(1.0, 1.0, 4))


def refusal(algorithm, local=UNIFORM, aggregator=None, task=None, **arguments):
    with pytest.raises(errors.UserError) as raised:
        ALGORITHMS[algorithm](task or quadratics.task(), local, aggregator=aggregator, **arguments)
    return str(raised.value)


def expected(aggregator=None, **changes):
    """Returns the sentence of a script, which knows its flags and no objects."""
    conduct = contract_terms.Conduct(aggregator=aggregator or properties.Properties(), **changes)
    return errors.without_marks(contract.violations(conduct)[0].refusal())


@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox"])
@pytest.mark.parametrize("name", MECHANISMS)
def test_a_mechanism_counts_clients_alike(algorithm, name):
    stated = expected(properties.configured(names.GAUSSIAN), weighting="examples")
    assert stated.startswith("weighting=examples: the accountant assumes")
    assert refusal(algorithm, LocalWork(), MECHANISMS[name]) == stated
    assert composition.check(quadratics.task(), UNIFORM, MECHANISMS[name]).is_private


@pytest.mark.parametrize("algorithm", ["scaffold", "mime_lite"])
@pytest.mark.parametrize("name", MECHANISMS)
def test_no_accountant_knows_an_algorithm_that_sends_two_things(algorithm, name):
    stated = expected(properties.configured(names.GAUSSIAN), algorithm=algorithm)
    assert stated.startswith(f"algorithm={algorithm}: ")
    assert refusal(algorithm, aggregator=MECHANISMS[name]) == stated
    assert refusal(algorithm, BY_EXAMPLE) == stated


EIGHT_BITS = CodedMeanFactory(Coding(Rounding(8), 0))
ROUNDED = {
    "TFF's mean of a mechanism": tff.aggregators.DifferentiallyPrivateFactory(
        QUERY, tff.aggregators.EncodedSumFactory.quantize_above_threshold(8, 1)
    ),
    "TFF's clipping": tff.aggregators.clipping_factory(1.0, EIGHT_BITS),
    "more around": tff.aggregators.zeroing_factory(
        9.0, tff.aggregators.clipping_factory(1.0, EIGHT_BITS)
    ),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ROUNDED)
def test_nothing_is_rounded_after_it_was_clipped(algorithm, name):
    found = refusal(algorithm, aggregator=ROUNDED[name])
    assert "it can make an update longer than " in found


def test_a_mechanism_for_floats_has_no_secure_sum():
    secure = tff.aggregators.SecureSumFactory(1.0)
    aggregator = tff.aggregators.DifferentiallyPrivateFactory(QUERY, secure)
    stated = expected(properties.configured(names.GAUSSIAN, secure_sum=True))
    assert "adds its noise to a sum of floats" in stated
    assert refusal("fedavg", aggregator=aggregator) == stated


def test_losses_that_depend_on_other_examples_have_no_epsilon_of_examples():
    task = dataclasses.replace(quadratics.task(), dependence="pairing=1: they are paired")
    stated = expected(by_example=True, dependence=task.dependence)
    assert refusal("fedavg", BY_EXAMPLE, task=task) == stated
    composition.check(task, UNIFORM, MECHANISMS[names.GAUSSIAN])


def test_a_task_that_reads_statistics_of_a_client_need_not_say_more():
    task = dataclasses.replace(quadratics.task(), statistics=lambda x, y: (x,))
    assert refusal("fedavg", BY_EXAMPLE, task=task).startswith("task=functional_model: its losses")


def test_sums_of_losses_are_not_sent_where_examples_are_protected():
    """Noise is on the gradients alone: a client that sent its loss had no privacy."""
    local = dataclasses.replace(BY_EXAMPLE, send=lambda update, sums: (sums["loss_sum"],))
    assert refusal("fedavg", local) == expected(by_example=True, sends_sums=True)


@pytest.mark.parametrize("algorithm", ADDING_NOTHING_UP)
@pytest.mark.parametrize(
    "aggregator",
    [
        None,
        tff.aggregators.MeanFactory(),
        tff.learning.robust_aggregator(),
        tff.learning.secure_aggregator(zeroing=False),
        tff.learning.compression_aggregator(),
        EIGHT_BITS,
        tff.aggregators.zeroing_factory(9.0, CodedMeanFactory(Coding(Rounding(4), 0))),
    ],
)
def test_what_claims_nothing_may_do_anything(algorithm, aggregator):
    local = dataclasses.replace(UNIFORM, weighting="examples")
    conduct = composition.check(quadratics.task(), local, aggregator, algorithm=algorithm)
    assert not conduct.is_private


@pytest.mark.parametrize(
    "aggregator",
    [
        tff.learning.secure_aggregator(zeroing=False),
        tff.aggregators.clipping_factory(1.0, tff.aggregators.MeanFactory()),
        EIGHT_BITS,
    ],
)
def test_scaffold_adds_up_no_errors_of_an_aggregator(aggregator):
    stated = expected(aggregator_properties.of(aggregator), algorithm="scaffold")
    assert "its errors add up" in stated
    assert refusal("scaffold", aggregator=aggregator) == stated


@pytest.mark.parametrize("algorithm", ADDING_NOTHING_UP)
def test_a_process_says_what_it_does(algorithm):
    process = ALGORITHMS[algorithm](quadratics.task(), UNIFORM, aggregator=EIGHT_BITS)
    assert process.conduct.aggregator == properties.configured(coded_by="`upload_bits`=8")


def test_a_run_that_claims_nothing_may_depart_from_the_accountant():
    process = fed_avg.fed_avg(
        quadratics.task(), LocalWork(), aggregator=MECHANISMS["audited"], allow_dp_mismatch=True
    )
    assert contract.check(process.conduct)
