"""The rules of the contract on aggregators: what one aggregator cannot do together.

`contract.violations` is the check that includes them.
"""

from collections.abc import Iterator

from tff_nlp.aggregation.secure_aggregation import session
from tff_nlp.errors import UserError
from tff_nlp.privacy import names
from tff_nlp.privacy.contract_terms import SENDS_OUTPUTS, Conduct, Masked, Rounds, Violation
from tff_nlp.privacy.properties import Properties

# Algorithms whose server takes products of factors. All others add up updates.
_TAKES_PRODUCTS = ("fedavg", "fedprox")
# Algorithms with a second value of each client that is added up, and what it is.
_SECOND_SUM = {
    "scaffold": "changes of control variates",
    "mime_lite": "gradients",
    "feddf": "logits",
}
# Algorithms whose clients can keep what compression lost, and one that `_variates` refuses anyway.
_KEEPS_ERRORS = ("fedavg", "fedprox", "fedbuff", "fedper", "fedsa", "ditto", "scaffold")
# The contexts that can run secure sums, in the clear or with the protocol.
_CONTEXTS = {
    names.PLAIN: ("streaming", "ray"),
    names.MASKED: ("streaming",),
    names.CKKS: ("streaming",),
}


def violations(conduct: Conduct, rounds: Rounds | None) -> Iterator[Violation]:
    """Yields the violations of the rules on aggregators.

    Args:
      conduct: What the process does with its clients.
      rounds: How its rounds are drawn; None if that is not known yet.
    """
    found = (
        _products(conduct),
        _robust(conduct),
        _coding(conduct, rounds),
        *_secure_sum(conduct.aggregator, rounds),
        _asynchronous(conduct, rounds),
        _variates(conduct, rounds),
    )
    yield from filter(None, found)


def _products(conduct: Conduct) -> Violation | None:
    """Returns what keeps the server from multiplying the factors of each client."""
    aggregator = conduct.aggregator
    if not aggregator.multiplies:
        return None
    if conduct.algorithm in SENDS_OUTPUTS:
        why = f"`algorithm`={conduct.algorithm} sends no weights"
    elif conduct.algorithm not in _TAKES_PRODUCTS:
        why = f"`algorithm`={conduct.algorithm} adds up updates"
    elif aggregator.protects_clients:
        why = f"`dp`={aggregator.mechanism} adds its noise to a sum of updates"
    elif aggregator.secure_sum:
        why = "a secure sum hides single updates"
    elif aggregator.clips:
        why = "an aggregator that clips updates clips no products"
    elif aggregator.coded_by:
        why = f"{aggregator.coded_by} changes each factor, and so the product is not exact"
    else:
        return None
    return Violation(
        f"{aggregator.multiplies}: the server multiplies the factors of each client, but {why}; "
        "take `lora_aggregation`=ffa",
        may_pass=False,
    )


def _robust(conduct: Conduct) -> Violation | None:
    """Returns what keeps the server from comparing all that clients send."""
    aggregator, algorithm = conduct.aggregator, conduct.algorithm
    if aggregator.clips and aggregator.protects_clients:
        return Violation(
            f"`aggregator`=norm_bound: `dp`={aggregator.mechanism} clips updates already; take "
            "`aggregator`=mean",
            may_pass=False,
        )
    if not aggregator.robust:
        return None
    if aggregator.protects_clients:
        why = f"`dp`={aggregator.mechanism} adds its noise to a sum of updates; take `dp`=none"
    elif aggregator.multiplies:
        why = f"{aggregator.multiplies} adds up products of factors; take `lora_aggregation`=ffa"
    elif algorithm in _SECOND_SUM:
        why = (
            f"`algorithm`={algorithm} also adds up {_SECOND_SUM[algorithm]}, and attackers can "
            "send any; take `algorithm`=fedavg"
        )
    elif algorithm == "qfedavg":
        why = "`algorithm`=qfedavg lets clients say how much they weigh; take `algorithm`=fedavg"
    elif conduct.weighting != "uniform":
        why = (
            f"`weighting`={conduct.weighting} lets clients say how much they weigh; take "
            "`weighting`=uniform"
        )
    else:
        return None
    return Violation(
        f"{aggregator.robust}: it compares the updates of clients, but {why}", may_pass=False
    )


def _coding(conduct: Conduct, rounds: Rounds | None) -> Violation | None:
    """Returns what keeps clients from sending something else than their numbers."""
    aggregator, algorithm = conduct.aggregator, conduct.algorithm
    if not aggregator.coded_by:
        return None
    mechanism, instead = aggregator.mechanism, aggregator.without_coding
    if mechanism == names.DISTRIBUTED:
        why = "`dp`=distributed sends integers already; `distributed_bits` says how wide"
    elif aggregator.protects_clients and not aggregator.clips_decoded:
        why = f"it can make an update longer than `dp`={mechanism} has clipped it; take {instead}"
    elif aggregator.clips:
        why = f"it can make an update longer than it was clipped; take {instead}"
    elif aggregator.secure_sum:
        kind = _kind(aggregator, rounds)
        why = (
            f"`secure_aggregation`={kind} adds up integers with a range that all clients share; "
            f"take {instead}"
        )
    elif conduct.audited:
        why = f"it changes what a canary of `audit_canaries` sends; take {instead}"
    elif aggregator.is_compressed and algorithm in (*SENDS_OUTPUTS, "feddf"):
        why = (
            f"`algorithm`={algorithm} sends logits, where a number that is left out is not small; "
            "take `upload_bits`=8"
        )
    elif aggregator.keeps_error and algorithm not in _KEEPS_ERRORS:
        why = (
            f"clients keep what it leaves out, and those of `algorithm`={algorithm} keep nothing; "
            "take `error_feedback`=false"
        )
    else:
        return None
    return Violation(f"{aggregator.coded_by}: {why}", may_pass=False)


def _secure_sum(aggregator: Properties, rounds: Rounds | None) -> list[Violation]:
    if not aggregator.secure_sum:
        return []
    kind, mechanism = _kind(aggregator, rounds), aggregator.mechanism
    flag = f"`secure_aggregation`={kind}"
    sentences = []
    if mechanism in (*names.CENTRAL, names.OTHER):
        sentences.append(
            f"{flag}: `dp`={mechanism} adds its noise to a sum of floats; take `dp`=distributed"
        )
    if not aggregator.sums_suffice:
        sentences.append(
            f"{flag}: the aggregator needs single updates, and a secure sum hides them"
        )
    if rounds and rounds.context not in _CONTEXTS[kind]:
        # The noise of clients always needs a secure sum, even without the flag.
        asker = f"`dp`={mechanism}" if mechanism == names.DISTRIBUTED else flag
        sentences.append(
            f"{asker}: `context`={rounds.context} cannot run it; take `context`=streaming"
        )
    if rounds and kind == names.MASKED and rounds.sampling == names.POISSON:
        sentences.append(
            f"{flag}: a round that draws fewer clients than the threshold aborts; take "
            "`sampling`=fixed"
        )
    if rounds and kind == names.CKKS and rounds.masked:
        fewest, cohort = rounds.masked.demanded.fewest_clients, rounds.masked.clients_per_round
        if cohort < fewest:
            sentences.append(
                f"`clients_per_round`={cohort}: an encrypted sum is over {fewest} clients or more, "
                "since it is decrypted"
            )
    if rounds and kind == names.MASKED and rounds.masked:
        sentences += _masked(rounds.masked)
    return [Violation(sentence, may_pass=False) for sentence in sentences]


def _asynchronous(conduct: Conduct, rounds: Rounds | None) -> Violation | None:
    """Returns what keeps a secure sum from having the cohort that it needs."""
    aggregator = conduct.aggregator
    if not aggregator.secure_sum or aggregator.encrypted:
        return None
    kind = _kind(aggregator, rounds)
    if conduct.algorithm == "fedbuff":
        why = (
            "the clients of a secure sum begin and end together, and with `algorithm`=fedbuff each "
            "sends when it is ready; take `algorithm`=fedavg"
        )
    elif rounds and rounds.by_devices and kind == names.MASKED:
        why = (
            "`device_profiles` takes slow clients out before the protocol begins, and a smaller "
            "cohort than `clients_per_round` would abort it; take `secure_aggregation`=plain"
        )
    else:
        return None
    return Violation(f"`secure_aggregation`={kind}: {why}", may_pass=False)


def _masked(masked: Masked) -> list[str]:
    """Returns the reason why a client would refuse a session; an empty list if it would not."""
    demanded, cohort = masked.demanded, masked.clients_per_round
    if cohort < demanded.fewest_clients:
        fewest = f"a masked sum is over {demanded.fewest_clients} clients or more"
        return [f"`clients_per_round`={cohort}: {fewest}"]
    threshold = masked.threshold
    if threshold is None:
        threshold = demanded.least_threshold(cohort)
    try:
        demanded.check(session.new(range(cohort), [session.Vector(1, 2)], threshold))
    except UserError as error:
        return [error.marked]
    return []


def _variates(conduct: Conduct, rounds: Rounds | None) -> Violation | None:
    """Returns what keeps the variate of SCAFFOLD's server from being the mean of the clients'."""
    aggregator = conduct.aggregator
    if conduct.algorithm != "scaffold" or aggregator.protects_clients:
        return None
    if aggregator.coded_by:
        flag, done, instead = aggregator.coded_by, "alters", f"take {aggregator.without_coding}"
    elif aggregator.secure_sum and not aggregator.encrypted:
        kind = _kind(aggregator, rounds)
        flag, done, instead = f"`secure_aggregation`={kind}", "clips", "take none"
    elif aggregator.clips:
        flag, done, instead = "`aggregator`", "clips", "take another one"
    else:
        return None
    return Violation(
        f"{flag}: {done} the changes of control variates, and the server of `algorithm`=scaffold "
        f"adds them up, so that its errors add up, too; {instead}",
        may_pass=False,
    )


def _kind(aggregator: Properties, rounds: Rounds | None) -> str:
    """Returns how secure sums are computed; if that is not known, the one that is meant."""
    if rounds:
        return rounds.secure_sums
    return names.CKKS if aggregator.encrypted else names.PLAIN
