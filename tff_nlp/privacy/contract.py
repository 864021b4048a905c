"""The contract: compares a process and its rounds with the assumptions of epsilon and secure sums.

`violations` is the only check. It works on plain values. So a script can check its flags before
TensorFlow is loaded, and an algorithm can check its objects. Both report the same sentences.
"""

from tff_nlp import errors
from tff_nlp.privacy import aggregator_rules, names
from tff_nlp.privacy.contract_terms import (
    OWN_MODELS,
    SENDS_OUTPUTS,
    Conduct,
    Rounds,
    Violation,
)

# Printed instead of an epsilon if others may know the noise.
REPEATABLE = "repeatable noise, for research only"
_UNACCOUNTED = {
    "scaffold": "a client sends a change of its control variate beside its update",
    "mime_lite": "a client sends a gradient beside its update",
    "qfedavg": "the loss of a client is its weight, without a bound",
    "feddf": "a client sends logits beside its update",
    "fedbuff": "an update arrives in a later round than the one for which its client was drawn",
}
# Those that train a second model, or a part of a model, beside what DP-SGD would protect.
_SECOND_MODEL = tuple(name for name in OWN_MODELS if name not in SENDS_OUTPUTS)
# Algorithms whose clients send one clipped value that depends on what they kept.
_SENDS_KEPT = ("fedper", "fedsa", *SENDS_OUTPUTS)
_DEPENDS = "what a client sends depends on the rounds in which it took part"


def sampling_for(mechanism: str, adjacency: str) -> str:
    """Returns the sampling that a mechanism's accountant assumes; the best if there are several."""
    if adjacency == names.REPLACE_ONE:
        return names.FIXED
    return names.SAMPLINGS.get(mechanism, (names.FIXED,))[0]


def check(conduct: Conduct, rounds: Rounds | None = None) -> tuple[str, ...]:
    """Refuses settings that would make an epsilon or a secure sum wrong.

    Args:
      conduct: What the process does with its clients.
      rounds: How its rounds are drawn; None if that is not known yet.

    Returns:
      A sentence, a marked text, for each violation that `allow_dp_mismatch` permits. If there is
      one, the run may claim no epsilon.

    Raises:
      UserError: If a violation is not permitted. The message is the sentence of the first one.
    """
    broken = violations(conduct, rounds)
    for violation in broken:
        if not (violation.may_pass and conduct.allow_dp_mismatch):
            raise errors.UserError(violation.refusal())
    return tuple(violation.sentence for violation in broken)


def violations(conduct: Conduct, rounds: Rounds | None = None) -> tuple[Violation, ...]:
    """Returns all violations. Those that are never permitted come first.

    The denominator needs no check: every mechanism divides by the expected cohort, or by a fixed
    number of clients.

    Args:
      conduct: What the process does with its clients.
      rounds: How its rounds are drawn; None if that is not known yet.
    """
    results = [
        *aggregator_rules.violations(conduct, rounds),
        _algorithm(conduct),
        _canaries(conduct),
        *(_rounds(conduct, rounds) if rounds else ()),
        _weighting(conduct),
        *_examples(conduct),
    ]
    return tuple(violation for violation in results if violation)


def _algorithm(conduct: Conduct) -> Violation | None:
    algorithm = conduct.algorithm
    if conduct.is_private and algorithm in _UNACCOUNTED:
        why = f"{_UNACCOUNTED[algorithm]}, which no accountant here knows of"
    elif conduct.by_example and algorithm in _SECOND_MODEL:
        why = f"clients have models of their own, and `dp`={names.EXAMPLE_LEVEL} trains one model"
    elif conduct.aggregator.mechanism == names.DISTRIBUTED and algorithm in _SENDS_KEPT:
        why = f"{_DEPENDS}, and `dp`={names.DISTRIBUTED} needs cohorts of a fixed size"
    elif conduct.aggregator.mechanism == names.DISTRIBUTED and algorithm in _SECOND_MODEL:
        why = f"its clients do not add the noise of `dp`={names.DISTRIBUTED}"
    else:
        return None
    name, instead = _setting_of(algorithm)
    return Violation(f"`{name}`={algorithm}: {why}; take `{name}`={instead}", may_pass=False)


def _setting_of(algorithm: str) -> tuple[str, str]:
    """Returns the argument that chooses an algorithm, and a value that goes with privacy."""
    return ("lora_aggregation", "ffa") if algorithm == "fedsa" else ("algorithm", "fedavg")


def _canaries(conduct: Conduct) -> Violation | None:
    if not conduct.audited or conduct.algorithm not in OWN_MODELS:
        return None
    name, instead = _setting_of(conduct.algorithm)
    return Violation(
        f"`audit_canaries`: a canary sends a direction of weights and has no model of its own, as "
        f"clients have with `{name}`={conduct.algorithm}; take `{name}`={instead}",
        may_pass=False,
    )


def _rounds(conduct: Conduct, rounds: Rounds) -> tuple[Violation | None, ...]:
    sentences = (
        _devices(conduct.aggregator.mechanism, rounds),
        _sampling(conduct.aggregator.mechanism, rounds),
        _memory(conduct, rounds),
        _dropping(conduct.aggregator.mechanism, rounds),
        _batches(conduct, rounds),
    )
    return tuple(Violation(sentence) for sentence in sentences if sentence)


def _devices(mechanism: str, rounds: Rounds) -> str | None:
    if not rounds.by_devices or mechanism not in names.SAMPLINGS:
        return None
    return (
        "`device_profiles`: devices decide which clients take part, and a fast one replaces a slow "
        f"one, but the accountant of `dp`={mechanism} assumes that cohorts are drawn at random; "
        "leave it out"
    )


def _sampling(mechanism: str, rounds: Rounds) -> str | None:
    if mechanism not in names.SAMPLINGS:
        return None  # With DP-SGD, examples are sampled and not clients.
    wanted, sampling = names.SAMPLINGS[mechanism], rounds.sampling
    # If clients add the noise, the number of clients is fixed and known.
    replace_one = rounds.adjacency == names.REPLACE_ONE or mechanism == names.DISTRIBUTED
    if sampling == names.FIXED and names.POISSON in wanted:
        if replace_one:
            return None
        return (
            "`sampling`=fixed: the accountant assumes that each client takes part independently; "
            "take `sampling`=poisson, or `adjacency`=replace_one for cohorts of a fixed size"
        )
    if sampling not in wanted:
        return (
            f"`sampling`={sampling}: the accountant of `dp`={mechanism} assumes "
            f"`sampling`={wanted[0]}"
        )
    if sampling == names.POISSON and replace_one:
        return (
            "`adjacency`=replace_one: the accountant of `sampling`=poisson is for neighbours that "
            "differ by adding or removing one client; take `adjacency`=add_or_remove"
        )
    return None


def _memory(conduct: Conduct, rounds: Rounds) -> str | None:
    """Returns why the rounds in which a client took part before may spoil the amplification.

    What a client sends may depend on them through what it keeps. If each client draws alone, then
    the draws of all others can be fixed, and in each round the draw of the client itself is new.
    So the release of each round is a mixture of subsampled mechanisms, whose divergence is at most
    that of the accountant, since the moments are convex. In a cohort of a fixed size, the draws of
    the others depend on that of the client. Without amplification (a tree), nothing is needed.
    """
    mechanism = conduct.aggregator.mechanism
    sends_kept = conduct.algorithm in _SENDS_KEPT or conduct.aggregator.keeps_error
    if not sends_kept or mechanism not in names.SAMPLINGS:
        return None
    if names.CYCLIC in names.SAMPLINGS[mechanism]:
        return None
    if rounds.sampling == names.POISSON and rounds.adjacency != names.REPLACE_ONE:
        return None
    name, _ = _setting_of(conduct.algorithm)
    setting = f"`{name}`={conduct.algorithm}"
    if conduct.aggregator.keeps_error:
        setting = f"{conduct.aggregator.coded_by} with `error_feedback`"
    return (
        f"{setting}: {_DEPENDS}, and then the accountant of `dp`={mechanism} "
        "assumes that each client draws alone; "
        "take `sampling`=poisson without `adjacency`=replace_one"
    )


def _dropping(mechanism: str, rounds: Rounds) -> str | None:
    if mechanism != names.DISTRIBUTED or not rounds.max_failed_clients:
        return None
    return (
        f"`max_failed_clients`={rounds.max_failed_clients}: a client that fails takes its share "
        "of the noise with it; take 0"
    )


def _batches(conduct: Conduct, rounds: Rounds) -> str | None:
    if not conduct.by_example or rounds.poisson_batches:
        return None
    return (
        f"`poisson_batches`=false: the accountant of `dp`={names.EXAMPLE_LEVEL} assumes that each "
        "example joins each batch independently; take batches of Poisson samples"
    )


def _weighting(conduct: Conduct) -> Violation | None:
    if not conduct.is_private or conduct.weighting == "uniform":
        return None
    return Violation(
        f"`weighting`={conduct.weighting}: the accountant assumes that every client weighs the "
        "same, since clipping bounds an update and not its weight; take `weighting`=uniform"
    )


def _examples(conduct: Conduct) -> list[Violation]:
    """Returns the ways in which an example can affect the server without clipping and noise."""
    sums = "`send`: its result may depend on the client's sums, which have no noise; leave it out"
    sentences = [conduct.dependence, sums if conduct.sends_sums else ""]
    return [Violation(sentence) for sentence in sentences if sentence and conduct.by_example]
