"""A composition is refused with one sentence, from the command line as from Python."""

import dataclasses
import functools

import pytest
import tensorflow_federated as tff
import tensorflow_privacy as tfp
from absl import flags

from experiments import train as script
from experiments.flags import groups
from tests.learning import quadratics
from tests.learning.algorithms import test_local_parts
from tff_nlp import errors
from tff_nlp.aggregation.compression.coded_mean import CodedMeanFactory
from tff_nlp.aggregation.compression.coding import Coding
from tff_nlp.aggregation.compression.rounding import Rounding
from tff_nlp.learning import canary_update
from tff_nlp.learning.algorithms import (
    ditto,
    fed_avg,
    fed_per,
    fed_prox,
    local_parts,
    mime_lite,
    q_fed_avg,
    scaffold,
)
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.learning.transforms.example_privacy import ExamplePrivacy
from tff_nlp.privacy import contract, contract_terms, mechanism, names
from tff_nlp.runs import conduct, configs, privacy_plan
from tff_nlp.tasks import dependence

UNIFORM = LocalWork(ClientOptimizer("sgd", 0.1), weighting="uniform")
BY_EXAMPLES = dataclasses.replace(UNIFORM, weighting="examples")
DP_SGD = dataclasses.replace(UNIFORM, example_privacy=ExamplePrivacy(1.0, 1.0, 4))
MEANS = {
    name: mechanism.build_aggregator(mechanism.Mechanism(name, 1.0, 40))
    for name in names.CLIENT_LEVEL
}
# Two of the weights stay at the clients.
HEADS_AT_CLIENTS = {
    "algorithm": functools.partial(
        local_parts.local_parts, parts=test_local_parts.task().trainable_names[:2]
    ),
    "task": test_local_parts.task(),
}
EIGHT_BITS = CodedMeanFactory(Coding(Rounding(8), 0))
QUERY = tfp.NormalizedQuery(tfp.GaussianSumQuery(1.0, 1.0), 4.0)


def with_optimizer(*arguments, **others):
    return LocalWork(ClientOptimizer(*arguments, **others), weighting="uniform")


def from_flags(*given):
    """Returns what the training script does with flags before it reads a corpus or TensorFlow."""
    parsed = flags.FlagValues()
    for group in script.GROUPS:
        groups.define(group, parsed)
    noise = ["--noise_multiplier=1"] if any(flag.startswith("--dp=") for flag in given) else []
    try:
        parsed(["train.py", *noise, *given])
        run = configs.FederatedRun(*(groups.parse(group, parsed) for group in script.GROUPS))
        conduct.check(privacy_plan.resolve(run))
    except errors.UserError as error:
        return error.marked
    return ""


def from_python(algorithm=fed_avg.fed_avg, local=UNIFORM, aggregator=None, drawn=None, **arguments):
    """Returns what building a process says, or what training it then does."""
    task = arguments.pop("task", quadratics.task())
    try:
        process = algorithm(task, local, aggregator=aggregator, **arguments)
        if drawn:
            contract.check(process.conduct, drawn)
    except errors.UserError as error:
        return error.marked
    return ""


def skewed(adjustment):
    return dataclasses.replace(quadratics.task(), dependence=dependence.of_labels(adjustment))


REFUSED = {
    "a mechanism and weights by examples": (
        ["--dp=gaussian", "--weighting=examples"],
        {"local": BY_EXAMPLES, "aggregator": MEANS[names.GAUSSIAN]},
    ),
    "the same of FedProx": (
        ["--dp=tree_aggregation", "--weighting=examples", "--algorithm=fedprox"],
        {
            "algorithm": fed_prox.fed_prox,
            "local": BY_EXAMPLES,
            "aggregator": MEANS[names.TREE_AGGREGATION],
        },
    ),
    "DP-SGD and weights by examples": (
        ["--dp=example_level", "--weighting=examples"],
        {"local": dataclasses.replace(DP_SGD, weighting="examples")},
    ),
    "DP-SGD and logit adjustment": (
        ["--dp=example_level", "--logit_adjustment=0.5"],
        {"local": DP_SGD, "task": skewed(0.5)},
    ),
    "clipped updates that are rounded": (
        ["--aggregator=norm_bound", "--upload_bits=8"],
        {"aggregator": tff.aggregators.clipping_factory(1.0, EIGHT_BITS)},
    ),
    "a mechanism of floats and a secure sum": (
        ["--dp=gaussian", "--secure_aggregation=plain"],
        {
            "aggregator": tff.aggregators.DifferentiallyPrivateFactory(
                QUERY, tff.aggregators.SecureSumFactory(1.0)
            )
        },
    ),
    "SCAFFOLD and a mechanism": (
        ["--dp=adaptive_clipping", "--algorithm=scaffold"],
        {
            "algorithm": scaffold.scaffold,
            "population": 9,
            "aggregator": MEANS[names.ADAPTIVE_CLIPPING],
        },
    ),
    "MimeLite and DP-SGD": (
        ["--dp=example_level", "--algorithm=mime_lite"],
        {"algorithm": mime_lite.mime_lite, "local": DP_SGD},
    ),
    "Ditto and DP-SGD": (
        ["--dp=example_level", "--algorithm=ditto"],
        {"algorithm": ditto.ditto, "local": DP_SGD},
    ),
    "Ditto and noise of clients": (
        ["--dp=distributed", "--algorithm=ditto"],
        {"algorithm": ditto.ditto, "aggregator": MEANS[names.DISTRIBUTED]},
    ),
    "heads at clients and a cohort of a fixed size": (
        ["--dp=gaussian", "--sampling=fixed", "--adjacency=replace_one", "--algorithm=fedper"],
        {
            **HEADS_AT_CLIENTS,
            "aggregator": MEANS[names.GAUSSIAN],
            "drawn": contract_terms.Rounds("fixed", adjacency="replace_one"),
        },
    ),
    "heads at clients and canaries": (
        ["--dp=gaussian", "--audit_canaries=10", "--algorithm=fedper"],
        {
            **HEADS_AT_CLIENTS,
            "local": dataclasses.replace(UNIFORM, canaries=canary_update.Canaries(0, 1.0)),
            "aggregator": MEANS[names.GAUSSIAN],
        },
    ),
    "weights by losses and a mechanism": (
        ["--dp=gaussian", "--algorithm=qfedavg"],
        {"algorithm": q_fed_avg.q_fed_avg, "aggregator": MEANS[names.GAUSSIAN]},
    ),
    "a cohort of a fixed size": (
        ["--dp=gaussian", "--sampling=fixed"],
        {"aggregator": MEANS[names.GAUSSIAN], "drawn": contract_terms.Rounds("fixed")},
    ),
    "a random cohort for a tree": (
        ["--dp=tree_aggregation", "--sampling=poisson"],
        {"aggregator": MEANS[names.TREE_AGGREGATION], "drawn": contract_terms.Rounds("poisson")},
    ),
    "neighbours of another kind": (
        ["--dp=gaussian", "--sampling=poisson", "--adjacency=replace_one"],
        {
            "aggregator": MEANS[names.GAUSSIAN],
            "drawn": contract_terms.Rounds("poisson", adjacency="replace_one"),
        },
    ),
    "noise of clients that vanish": (
        ["--dp=distributed", "--max_failed_clients=2"],
        {
            "aggregator": MEANS[names.DISTRIBUTED],
            "drawn": contract_terms.Rounds("fixed", max_failed_clients=2),
        },
    ),
    "noise of clients where nothing adds up secure sums": (
        ["--dp=distributed", "--context=tff"],
        {
            "aggregator": MEANS[names.DISTRIBUTED],
            "drawn": contract_terms.Rounds("fixed", context="tff"),
        },
    ),
    "a secure sum where nothing adds it up": (
        ["--secure_aggregation=plain", "--context=tff"],
        {
            "aggregator": tff.learning.secure_aggregator(zeroing=False, weighted=False),
            "drawn": contract_terms.Rounds("fixed", context="tff"),
        },
    ),
    "SCAFFOLD and AdamW": (
        ["--algorithm=scaffold", "--client_optimizer=adamw"],
        {"algorithm": scaffold.scaffold, "population": 9, "local": with_optimizer("adamw", 0.1)},
    ),
    "SCAFFOLD and clipped gradients": (
        ["--algorithm=scaffold", "--client_clip_norm=0.5"],
        {
            "algorithm": scaffold.scaffold,
            "population": 9,
            "local": with_optimizer("sgd", 0.1, clip_norm=0.5),
        },
    ),
    "weights by losses and momentum": (
        ["--algorithm=qfedavg", "--client_optimizer=sgd", "--client_momentum=0.9"],
        {"algorithm": q_fed_avg.q_fed_avg, "local": with_optimizer("sgd", 0.1, momentum=0.9)},
    ),
    "weights by powers of losses and a secure sum": (
        ["--algorithm=qfedavg", "--fairness_q=2.0", "--secure_aggregation=plain"],
        {
            "algorithm": q_fed_avg.q_fed_avg,
            "fairness": 2.0,
            "aggregator": tff.learning.secure_aggregator(zeroing=False),
        },
    ),
    "MimeLite and weight decay": (
        ["--algorithm=mime_lite", "--client_weight_decay=0.1"],
        {
            "algorithm": mime_lite.mime_lite,
            "local": with_optimizer("adamw", 0.1, weight_decay=0.1),
        },
    ),
    "MimeLite, clipped gradients and DP-SGD": (
        ["--algorithm=mime_lite", "--client_clip_norm=1.0", "--dp=example_level"],
        {
            "algorithm": mime_lite.mime_lite,
            "local": dataclasses.replace(
                DP_SGD, optimizer=ClientOptimizer("adamw", 0.1, clip_norm=1.0)
            ),
        },
    ),
    "SCAFFOLD and rounded updates": (
        ["--algorithm=scaffold", "--upload_bits=8"],
        {
            "algorithm": scaffold.scaffold,
            "population": 9,
            "aggregator": EIGHT_BITS,
        },
    ),
    "SCAFFOLD and a secure sum": (
        ["--algorithm=scaffold", "--secure_aggregation=plain"],
        {
            "algorithm": scaffold.scaffold,
            "population": 9,
            "aggregator": tff.learning.secure_aggregator(zeroing=False),
        },
    ),
    "heads of clients, and nothing else trains": (
        ["--algorithm=fedper", "--trainable=head"],
        {
            "algorithm": fed_per.fed_per,
            "task": dataclasses.replace(
                quadratics.task(), head=tuple(quadratics.task().trainable_names)
            ),
        },
    ),
    "heads of clients, and there is none": (
        ["--algorithm=fedper", "--task=language_model"],
        {
            "algorithm": fed_per.fed_per,
            "task": dataclasses.replace(quadratics.task(), name="language_model"),
        },
    ),
    "masked sums over random cohorts": (
        ["--secure_aggregation=masked", "--sampling=poisson"],
        {
            "aggregator": tff.learning.secure_aggregator(zeroing=False, weighted=False),
            "drawn": contract_terms.Rounds("poisson", secure_sums="masked"),
        },
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_flags_and_calls_are_refused_with_the_same_sentence(name):
    given, arguments = REFUSED[name]
    sentence = from_flags(*given)
    assert sentence.startswith("`") and from_python(**arguments) == sentence


ALLOWED = {
    "weights by losses and rounded updates": (
        ["--algorithm=qfedavg", "--upload_bits=8"],
        {"algorithm": q_fed_avg.q_fed_avg, "aggregator": EIGHT_BITS},
    ),
    "a model of each client and a mechanism": (
        ["--dp=gaussian", "--algorithm=ditto"],
        {"algorithm": ditto.ditto, "aggregator": MEANS[names.GAUSSIAN]},
    ),
    "heads at clients and a mechanism": (
        ["--dp=gaussian", "--algorithm=fedper"],
        {
            **HEADS_AT_CLIENTS,
            "aggregator": MEANS[names.GAUSSIAN],
            "drawn": contract_terms.Rounds("poisson"),
        },
    ),
    "heads at clients and a tree": (
        ["--dp=tree_aggregation", "--algorithm=fedper"],
        {
            **HEADS_AT_CLIENTS,
            "aggregator": MEANS[names.TREE_AGGREGATION],
            "drawn": contract_terms.Rounds("cyclic"),
        },
    ),
    "weights by losses and a secure sum": (
        ["--algorithm=qfedavg", "--secure_aggregation=plain", "--weighting=uniform"],
        {
            "algorithm": q_fed_avg.q_fed_avg,
            "aggregator": tff.learning.secure_aggregator(zeroing=False, weighted=True),
        },
    ),
    "MimeLite and a secure sum": (
        ["--algorithm=mime_lite", "--secure_aggregation=plain", "--weighting=uniform"],
        {
            "algorithm": mime_lite.mime_lite,
            "aggregator": tff.learning.secure_aggregator(zeroing=False, weighted=False),
        },
    ),
    "DP-SGD and rounded updates": (
        ["--dp=example_level", "--upload_bits=8"],
        {
            "local": DP_SGD,
            "aggregator": EIGHT_BITS,
            "drawn": contract_terms.Rounds("fixed", poisson_batches=True),
        },
    ),
    "what is allowed to void its epsilon": (
        ["--dp=gaussian", "--weighting=examples", "--sampling=cyclic", "--allow_dp_mismatch"],
        {
            "local": BY_EXAMPLES,
            "aggregator": MEANS[names.GAUSSIAN],
            "drawn": contract_terms.Rounds("cyclic"),
            "allow_dp_mismatch": True,
        },
    ),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_one_of_them_takes_the_other_takes(name):
    given, arguments = ALLOWED[name]
    assert from_flags(*given) == from_python(**arguments) == ""
