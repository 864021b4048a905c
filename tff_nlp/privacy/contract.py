"""The contract: compares a process and its rounds with the assumptions of epsilon and secure sums.

`violations` is the only check. It works on plain values. So a script can check its flags before
TensorFlow is loaded, and an algorithm can check its objects. Both report the same sentences.
"""

import dataclasses

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import demands, session
from tff_nlp.privacy import names
from tff_nlp.privacy.properties import Properties

# Printed instead of an epsilon if others may know the noise.
REPEATABLE = "repeatable noise, for research only"
_UNACCOUNTED = {
    "scaffold": "a client sends a change of its control variate beside its update",
    "mime_lite": "a client sends a gradient beside its update",
    "qfedavg": "the loss of a client is its weight, without a bound",
    "feddf": "a client sends logits beside its update",
}
# Algorithms whose clients send outputs on public texts, and no weights.
SENDS_OUTPUTS = ("fedmd", "dsfl")
# Algorithms with a model of its own for each client.
OWN_MODELS = ("fedper", "ditto", *SENDS_OUTPUTS, "fedsa")
# Those that train a second model, or a part of a model, beside what DP-SGD would protect.
_SECOND_MODEL = tuple(name for name in OWN_MODELS if name not in SENDS_OUTPUTS)
# Algorithms whose clients send one clipped value that depends on what they kept.
_SENDS_KEPT = ("fedper", "fedsa", *SENDS_OUTPUTS)
# Algorithms whose server takes products of factors. All others add up updates.
_TAKES_PRODUCTS = ("fedavg", "fedprox")
# Algorithms with a second value of each client that is added up, and what it is.
_SECOND_SUM = {
    "scaffold": "changes of control variates",
    "mime_lite": "gradients",
    "feddf": "logits",
}
_DEPENDS = "what a client sends depends on the rounds in which it took part"
# The contexts that can run secure sums, in the clear or with the protocol.
_CONTEXTS = {names.PLAIN: ("streaming", "ray"), names.MASKED: ("streaming",)}


@dataclasses.dataclass(frozen=True)
class Violation:
    """A setting that is not compatible with another one.

    Attributes:
      sentence: The argument with its value, the reason, and a setting to take instead, as marked
        text (`errors`).
      may_pass: Whether `allow_dp_mismatch` permits it, for a run that claims no epsilon.
    """

    sentence: str
    may_pass: bool = True

    def refusal(self) -> str:
        """Returns the sentence, and how to continue anyway if that is possible."""
        way_out = "; or `allow_dp_mismatch` to train without it" if self.may_pass else ""
        return self.sentence + way_out


@dataclasses.dataclass(frozen=True)
class Conduct:
    """What a process does with its clients in every round.

    Attributes:
      algorithm: The algorithm's name.
      aggregator: Properties of the aggregator of updates.
      by_example: Whether clients train with DP-SGD.
      weighting: "uniform", or "examples".
      dependence: Why the loss of an example depends on other examples, as a whole sentence; empty
        if it does not.
      sends_sums: Whether a client may send values that depend on the sums of its losses.
      audited: Whether there are canaries among the clients.
      allow_dp_mismatch: Whether the process may violate the assumptions of its accountant, because
        no epsilon is claimed.
    """

    algorithm: str = "fedavg"
    aggregator: Properties = Properties()
    by_example: bool = False
    weighting: str = "uniform"
    dependence: str = ""
    sends_sums: bool = False
    audited: bool = False
    allow_dp_mismatch: bool = False

    @property
    def is_private(self) -> bool:
        """Whether an epsilon may be claimed, for clients or for examples."""
        return self.by_example or self.aggregator.protects_clients


@dataclasses.dataclass(frozen=True)
class Masked:
    """The parameters of the protocol of masked sums.

    Attributes:
      clients_per_round: Size of the cohort.
      demanded: The demands of each client.
      threshold: Number of clients that must stay to the end; None for the smallest safe number.
    """

    clients_per_round: int
    demanded: demands.Demands = demands.Demands()
    threshold: int | None = None


@dataclasses.dataclass(frozen=True)
class Rounds:
    """How the rounds of a process are drawn and run.

    Attributes:
      sampling: How cohorts are drawn: "poisson", "fixed" or "cyclic".
      poisson_batches: Whether each example joins each batch independently.
      adjacency: How neighbouring data sets differ: one of `names.ADJACENCIES`.
      max_failed_clients: Number of clients that may fail in a round. The round continues without
        them.
      context: The name of the execution context.
      secure_sums: How secure sums are computed: "plain" or "masked".
      masked: Parameters of masked sums; None if they are not known before the rounds.
    """

    sampling: str
    poisson_batches: bool = False
    adjacency: str = names.AUTO
    max_failed_clients: int = 0
    context: str = "streaming"
    secure_sums: str = names.PLAIN
    masked: Masked | None = None

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("sampling", self.sampling, names.DRAWS),
            ("adjacency", self.adjacency, names.ADJACENCIES),
        ):
            if value not in choices:
                raise errors.UserError(
                    f"{errors.setting(name, value)}: choose one of {', '.join(choices)}"
                )


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
        _products(conduct),
        _robust(conduct),
        _rounding(conduct.aggregator, rounds),
        *_secure_sum(conduct.aggregator, rounds),
        _variates(conduct, rounds),
        _algorithm(conduct),
        _canaries(conduct),
        *(_rounds(conduct, rounds) if rounds else ()),
        _weighting(conduct),
        *_examples(conduct),
    ]
    return tuple(violation for violation in results if violation)


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
    elif aggregator.rounded_by:
        why = f"{aggregator.rounded_by} rounds each factor, and so the product is not exact"
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
    elif aggregator.rounded_by:
        why = f"{aggregator.rounded_by} rounds them for a sum; take 32 bits"
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


def _rounding(aggregator: Properties, rounds: Rounds | None) -> Violation | None:
    if not aggregator.rounded_by:
        return None
    mechanism = aggregator.mechanism
    if mechanism == names.DISTRIBUTED:
        why = "`dp`=distributed sends integers already; `distributed_bits` says how wide"
    elif aggregator.protects_clients:
        why = (
            f"rounding makes an update longer than the norm that `dp`={mechanism} clips it to; "
            "take `dp`=distributed `distributed_bits`, or 32 bits"
        )
    elif aggregator.clips:
        why = "rounding makes an update longer than the norm that it was clipped to; take 32 bits"
    elif aggregator.secure_sum:
        kind = rounds.secure_sums if rounds else names.PLAIN
        why = (
            f"`secure_aggregation`={kind} adds up integers with a range that all clients share; "
            "take 32 bits"
        )
    else:
        return None
    return Violation(f"{aggregator.rounded_by}: {why}", may_pass=False)


def _secure_sum(aggregator: Properties, rounds: Rounds | None) -> list[Violation]:
    if not aggregator.secure_sum:
        return []
    kind, mechanism = rounds.secure_sums if rounds else names.PLAIN, aggregator.mechanism
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
    if rounds and kind == names.MASKED and rounds.masked:
        sentences += _masked(rounds.masked)
    return [Violation(sentence, may_pass=False) for sentence in sentences]


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
    except errors.UserError as error:
        return [error.marked]
    return []


def _variates(conduct: Conduct, rounds: Rounds | None) -> Violation | None:
    """Returns what keeps the variate of SCAFFOLD's server from being the mean of the clients'."""
    aggregator = conduct.aggregator
    if conduct.algorithm != "scaffold" or aggregator.protects_clients:
        return None
    if aggregator.rounded_by:
        flag, done, instead = aggregator.rounded_by, "rounds", "take 32 bits"
    elif aggregator.secure_sum:
        kind = rounds.secure_sums if rounds else names.PLAIN
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
        _sampling(conduct.aggregator.mechanism, rounds),
        _memory(conduct, rounds),
        _dropping(conduct.aggregator.mechanism, rounds),
        _batches(conduct, rounds),
    )
    return tuple(Violation(sentence) for sentence in sentences if sentence)


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
    if conduct.algorithm not in _SENDS_KEPT or mechanism not in names.SAMPLINGS:
        return None
    if names.CYCLIC in names.SAMPLINGS[mechanism]:
        return None
    if rounds.sampling == names.POISSON and rounds.adjacency != names.REPLACE_ONE:
        return None
    name, _ = _setting_of(conduct.algorithm)
    return (
        f"`{name}`={conduct.algorithm}: {_DEPENDS}, and then the accountant of `dp`={mechanism} "
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
