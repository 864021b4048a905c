"""What a process and its rounds do, held against what an accountant assumes."""

import dataclasses

import pytest

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import demands
from tff_nlp.errors import UserError
from tff_nlp.privacy import contract, contract_terms, names, properties


def conduct(mechanism=names.GAUSSIAN, **changes):
    settings = {
        name: changes.pop(name)
        for name in ("coded_by", "keeps_error", "secure_sum", "encrypted")
        if name in changes
    }
    return contract_terms.Conduct(
        aggregator=properties.configured(mechanism, **settings),
        by_example=mechanism == names.EXAMPLE_LEVEL,
        **changes,
    )


def rounds(sampling=names.POISSON, **changes):
    return contract_terms.Rounds(sampling, **{"poisson_batches": True, **changes})


@pytest.mark.parametrize(
    ("does", "drawn"),
    [
        (conduct(), rounds()),
        (conduct(), None),
        (conduct(names.ADAPTIVE_CLIPPING), rounds(poisson_batches=False)),
        (conduct(), rounds("fixed", adjacency="replace_one")),
        (conduct(sends_sums=True), rounds(max_failed_clients=3)),
        (conduct(dependence="logit_adjustment=1: it depends"), rounds()),
        (conduct(names.TREE_AGGREGATION), rounds("cyclic")),
        (conduct(names.DISTRIBUTED), rounds("fixed")),
        (conduct(names.DISTRIBUTED, secure_sum=True), rounds("fixed", adjacency="replace_one")),
        (conduct(names.EXAMPLE_LEVEL, coded_by="`upload_bits`=8"), rounds("fixed")),
        (conduct(coded_by="`compression`=top_k", keeps_error=True), rounds()),
        (conduct(coded_by="`upload_bits`=8"), rounds("fixed", adjacency="replace_one")),
        (conduct(names.NONE, weighting="examples", coded_by="`upload_bits`=8"), rounds("cyclic")),
        (
            conduct(names.NONE, algorithm="fedbuff", secure_sum=True, encrypted=True),
            rounds(secure_sums="ckks", by_devices=True),
        ),
        (conduct(names.NONE, algorithm="scaffold"), rounds("fixed")),
        (conduct(names.NONE, algorithm="fedper", coded_by="`upload_bits`=4"), rounds("fixed")),
        (conduct(names.NONE, algorithm="mime_lite", secure_sum=True), rounds(context="ray")),
    ],
)
def test_what_goes_together_is_left_alone(does, drawn):
    assert contract.violations(does, drawn) == ()
    assert contract.check(does, drawn) == ()


ROUNDED, TOP_K = "`upload_bits`=8", "`compression`=top_k"
MASKED = contract_terms.Masked(9, demands.Demands(), 6)


@pytest.mark.parametrize(
    ("does", "drawn", "flag", "advice"),
    [
        (conduct(), rounds("fixed"), "sampling=fixed", "sampling=poisson"),
        (conduct(), rounds("cyclic"), "sampling=cyclic", "sampling=poisson"),
        (conduct(), rounds(adjacency="replace_one"), "adjacency=replace_one", "add_or_remove"),
        (
            conduct(coded_by=TOP_K, keeps_error=True),
            rounds("fixed", adjacency="replace_one"),
            "compression=top_k with error_feedback: what a client sends depends",
            "sampling=poisson",
        ),
        (conduct(weighting="examples"), None, "weighting=examples", "weighting=uniform"),
        (conduct(names.TREE_AGGREGATION), rounds(), "sampling=poisson", "sampling=cyclic"),
        (conduct(names.DISTRIBUTED), rounds(), "sampling=poisson", "sampling=fixed"),
        (
            conduct(names.DISTRIBUTED),
            rounds("fixed", max_failed_clients=1),
            "max_failed_clients=1",
            "take 0",
        ),
        (
            conduct(names.EXAMPLE_LEVEL, weighting="examples"),
            None,
            "weighting=examples",
            "weighting=uniform",
        ),
        (
            conduct(names.EXAMPLE_LEVEL, dependence="logit_adjustment=0.5: it depends; take 0"),
            None,
            "logit_adjustment=0.5",
            "take 0",
        ),
        (conduct(), rounds(by_devices=True), "device_profiles", "leave it out"),
        (conduct(names.EXAMPLE_LEVEL, sends_sums=True), None, "send", "leave it out"),
        (
            conduct(names.EXAMPLE_LEVEL),
            rounds("fixed", poisson_batches=False),
            "poisson_batches=false",
            "Poisson samples",
        ),
    ],
)
def test_what_voids_an_epsilon_may_pass_where_none_is_claimed(does, drawn, flag, advice):
    (found,) = contract.violations(does, drawn)
    sentence = errors.without_marks(found.sentence)
    assert sentence.startswith(flag) and advice in sentence
    with pytest.raises(UserError, match=f"^{flag}.*; or allow_dp_mismatch"):
        contract.check(does, drawn)
    allowed = dataclasses.replace(does, allow_dp_mismatch=True)
    assert contract.check(allowed, drawn) == (found.sentence,)


@pytest.mark.parametrize(
    ("does", "drawn", "flag", "advice"),
    [
        (conduct(algorithm="scaffold"), None, "algorithm=scaffold", "algorithm=fedavg"),
        (
            conduct(names.EXAMPLE_LEVEL, algorithm="mime_lite"),
            None,
            "algorithm=mime_lite",
            "algorithm=fedavg",
        ),
        (
            contract_terms.Conduct(aggregator=properties.Properties(names.OTHER, coded_by=ROUNDED)),
            None,
            "upload_bits=8: it can make an update longer",
            "take 32 bits",
        ),
        (
            conduct(names.DISTRIBUTED, coded_by=ROUNDED),
            None,
            "upload_bits=8: dp=distributed",
            "distributed_bits",
        ),
        (conduct(coded_by=ROUNDED, audited=True), None, "upload_bits=8: ", "a canary"),
        (
            conduct(names.NONE, coded_by=TOP_K, algorithm="feddf"),
            None,
            "compression=top_k: algorithm=feddf sends logits",
            "upload_bits=8",
        ),
        (
            conduct(names.NONE, coded_by=TOP_K, keeps_error=True, algorithm="mime_lite"),
            None,
            "compression=top_k: clients keep what it leaves out, and those of algorithm=mime_lite",
            "error_feedback=false",
        ),
        (
            conduct(names.NONE, coded_by="`upload_bits`=4", secure_sum=True),
            rounds(secure_sums="masked"),
            "upload_bits=4",
            "secure_aggregation=masked adds up integers",
        ),
        *(
            (
                contract_terms.Conduct(algorithm, properties.configured(products="fedex")),
                None,
                "lora_aggregation=fedex: ",
                f"algorithm={algorithm} adds up updates",
            )
            for algorithm in ("scaffold", "mime_lite", "fedper", "ditto", "qfedavg", "another")
        ),
        *(
            (
                contract_terms.Conduct(
                    algorithm, properties.configured(robust="krum"), weighting=weighting
                ),
                None,
                "aggregator=krum: it compares the updates of clients",
                advice,
            )
            for algorithm, weighting, advice in (
                ("scaffold", "uniform", "also adds up changes of control variates"),
                ("mime_lite", "uniform", "also adds up gradients"),
                ("feddf", "uniform", "also adds up logits"),
                ("qfedavg", "uniform", "lets clients say how much they weigh"),
                ("fedavg", "examples", "weighting=uniform"),
            )
        ),
        (
            contract_terms.Conduct(
                aggregator=properties.configured(names.GAUSSIAN, robust="median")
            ),
            None,
            "aggregator=median: it compares",
            "take dp=none",
        ),
        (
            contract_terms.Conduct(aggregator=properties.configured(names.GAUSSIAN, clips=True)),
            None,
            "aggregator=norm_bound: dp=gaussian clips updates already",
            "aggregator=mean",
        ),
        (
            conduct(names.NONE, algorithm="fedbuff", secure_sum=True),
            None,
            "secure_aggregation=plain: the clients of a secure sum begin and end together",
            "algorithm=fedavg",
        ),
        (
            conduct(names.NONE, secure_sum=True),
            rounds("fixed", secure_sums="masked", by_devices=True),
            "secure_aggregation=masked: device_profiles takes slow clients out",
            "secure_aggregation=plain",
        ),
        (
            conduct(names.GAUSSIAN, algorithm="fedbuff"),
            None,
            "algorithm=fedbuff: an update arrives in a later round",
            "algorithm=fedavg",
        ),
        (
            conduct(names.NONE, algorithm="scaffold", coded_by="`upload_bits`=4"),
            None,
            "upload_bits=4: alters the changes",
            "32 bits",
        ),
        (
            conduct(names.NONE, algorithm="scaffold", secure_sum=True),
            rounds("fixed", secure_sums="masked"),
            "secure_aggregation=masked: clips the changes",
            "take none",
        ),
        (
            contract_terms.Conduct("scaffold", properties.Properties(clips=True)),
            None,
            "aggregator: clips the changes",
            "take another",
        ),
        (
            conduct(names.TREE_AGGREGATION, secure_sum=True),
            None,
            "secure_aggregation=plain: dp=tree_aggregation",
            "dp=distributed",
        ),
        (
            conduct(names.NONE, secure_sum=True),
            rounds(context="tff"),
            "secure_aggregation=plain",
            "context=streaming",
        ),
        (
            conduct(names.NONE, secure_sum=True),
            rounds("fixed", context="ray", secure_sums="masked"),
            "secure_aggregation=masked",
            "context=streaming",
        ),
        (
            conduct(names.DISTRIBUTED),
            rounds("fixed", context="tff"),
            "dp=distributed: context=tff",
            "context=streaming",
        ),
        (
            conduct(names.NONE, secure_sum=True),
            rounds(secure_sums="masked"),
            "secure_aggregation=masked",
            "sampling=fixed",
        ),
        (
            conduct(names.NONE, secure_sum=True),
            rounds("fixed", secure_sums="masked", masked=dataclasses.replace(MASKED, threshold=5)),
            "secure_aggregation_threshold=5",
            "at least 6",
        ),
        *(
            (
                conduct(names.NONE, secure_sum=True, encrypted=kind == "ckks"),
                rounds("fixed", secure_sums=kind, masked=contract_terms.Masked(4)),
                "clients_per_round=4",
                "5 clients or more",
            )
            for kind in ("masked", "ckks")
        ),
    ],
)
def test_what_cannot_be_is_refused_whatever_is_claimed(does, drawn, flag, advice):
    found = contract.violations(does, drawn)
    sentence = errors.without_marks(found[0].sentence)
    assert sentence.startswith(flag) and advice in sentence
    allowed = dataclasses.replace(does, allow_dp_mismatch=True)
    with pytest.raises(UserError, match=flag) as raised:
        contract.check(allowed, drawn)
    assert "allow_dp_mismatch" not in str(raised.value)


def test_an_aggregator_of_single_updates_has_no_secure_sum():
    single = properties.Properties(secure_sum=True, sums_suffice=False)
    (found,) = contract.violations(contract_terms.Conduct(aggregator=single))
    assert "single updates" in found.sentence and not found.may_pass


@pytest.mark.parametrize(
    ("changes", "flag"),
    [({"sampling": "nonsense"}, "sampling=nonsense"), ({"adjacency": "x"}, "adjacency=x")],
)
def test_rounds_of_an_unknown_kind_are_refused(changes, flag):
    """A sampling that is none used to end in a KeyError at the first round."""
    with pytest.raises(UserError, match=flag):
        contract_terms.Rounds(**{"sampling": "fixed", **changes})


@pytest.mark.parametrize(
    ("mechanism", "adjacency", "sampling"),
    [
        (names.NONE, "auto", "fixed"),
        (names.EXAMPLE_LEVEL, "auto", "fixed"),
        (names.GAUSSIAN, "auto", "poisson"),
        (names.GAUSSIAN, "replace_one", "fixed"),
        (names.TREE_AGGREGATION, "auto", "cyclic"),
        (names.DISTRIBUTED, "auto", "fixed"),
        (names.OTHER, "auto", "fixed"),
    ],
)
def test_the_sampling_is_what_the_accountant_assumes(mechanism, adjacency, sampling):
    assert contract.sampling_for(mechanism, adjacency) == sampling
    drawn = rounds(sampling, adjacency=adjacency)
    assert contract.violations(conduct(mechanism), drawn) == ()
