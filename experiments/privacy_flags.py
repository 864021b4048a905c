"""The flags of differential privacy."""

import dataclasses

from experiments import checks
from experiments.flag_groups import flag
from tff_nlp.privacy import names

NONE = "none"
MECHANISMS = (NONE, *names.CLIENT_LEVEL, names.EXAMPLE_LEVEL)
# Flags that only some mechanisms use.
_ONLY_FOR = {
    "target_quantile": (names.ADAPTIVE_CLIPPING,),
    "clipping_learning_rate": (names.ADAPTIVE_CLIPPING,),
    "clipped_count_stddev": (names.ADAPTIVE_CLIPPING,),
    "restart_every": (names.TREE_AGGREGATION,),
    "efficient_tree": (names.TREE_AGGREGATION,),
    "max_participations": (names.TREE_AGGREGATION,),
    "min_separation": (names.TREE_AGGREGATION,),
    "distributed_bits": (names.DISTRIBUTED,),
    "clipping_norm": tuple(m for m in MECHANISMS if m != NONE),
    "audit_canaries": names.CLIENT_LEVEL,
    "adjacency": (names.GAUSSIAN, names.ADAPTIVE_CLIPPING),
}


@dataclasses.dataclass(frozen=True)
class PrivacyFlags:
    """Which mechanism, how much noise, and what is promised."""

    dp: str = flag(
        NONE,
        "Mechanism: gaussian, adaptive_clipping and tree_aggregation (DP-FTRL) protect clients by "
        "noise of the server, distributed by noise of the clients, example_level (DP-SGD) each "
        "example of a client.",
        MECHANISMS,
    )
    noise_multiplier: float | None = flag(
        None, "Standard deviation of the noise on the sum over the clipping norm."
    )
    target_epsilon: float | None = flag(
        None,
        "Without --noise_multiplier, the noise that keeps it for all rounds is found; with it, "
        "training ends before it is exceeded.",
    )
    noise_seed: int | None = flag(
        None,
        "Makes the noise repeatable, for research only: nothing is guaranteed then. Empty: the "
        "noise derives from a secret of the operating system, kept in the run's private folder.",
    )
    delta: float | None = flag(None, "Of (epsilon, delta); empty: population^-1.1.")
    accountant: str = flag(
        "rdp", "Whose epsilon is held against --target_epsilon.", names.ACCOUNTANTS
    )
    clipping_norm: float = flag(
        1.0,
        "L2 norm to which updates (or examples' gradients) are clipped; the first, if adaptive.",
    )
    adjacency: str = flag(
        "auto",
        "Neighbours differ by adding or removing a client, or by replacing one; auto: what the "
        "mechanism's accountant assumes.",
        ("auto", "add_or_remove", "replace_one"),
    )
    target_quantile: float = flag(0.5, "adaptive_clipping: share of clients not to be clipped.")
    clipping_learning_rate: float = flag(0.2, "adaptive_clipping: geometric step of the norm.")
    clipped_count_stddev: float | None = flag(
        None, "adaptive_clipping: noise on the count; empty: a twentieth of the cohort."
    )
    restart_every: int | None = flag(None, "tree_aggregation: a fresh tree after so many rounds.")
    efficient_tree: bool = flag(True, "tree_aggregation: Honaker's estimates of the nodes.")
    max_participations: int | None = flag(
        None, "tree_aggregation: a client's rounds at most; empty: what --sampling=cyclic gives."
    )
    min_separation: int | None = flag(
        None, "tree_aggregation: rounds between two of a client's at least; empty: likewise."
    )
    distributed_bits: int = flag(20, "distributed: width of the integers that clients send.")
    audit_canaries: int = flag(
        0,
        "So many clients more, which send random directions; from their traces the end tells a "
        "lower bound on epsilon.",
    )
    allow_dp_mismatch: bool = flag(
        False, "Train although the run is not what the accountant assumes, and claim no epsilon."
    )

    def __post_init__(self) -> None:
        if self.dp == NONE:
            self._refuse_all()
            return
        for name, mechanisms in _ONLY_FOR.items():
            if self.dp not in mechanisms and getattr(self, name) != _DEFAULTS[name]:
                checks.refuse(name, getattr(self, name), f"--dp={self.dp} does not use it")
        noise, target = self.noise_multiplier, self.target_epsilon
        if noise is None and target is None:
            checks.refuse(
                "dp", self.dp, "give --noise_multiplier or --target_epsilon, so that noise is known"
            )
        checks.noise("noise_multiplier", noise)
        if target is not None:
            checks.above_zero("target_epsilon", target)
        if self.delta is not None:
            checks.check(0 < self.delta < 1, "delta", self.delta, "between 0 and 1")
        checks.above_zero("clipping_norm", self.clipping_norm)
        checks.above_zero("clipping_learning_rate", self.clipping_learning_rate)
        in_range = 0 < self.target_quantile < 1
        checks.check(in_range, "target_quantile", self.target_quantile, "between 0 and 1")
        if self.clipped_count_stddev is not None:
            checks.above_zero("clipped_count_stddev", self.clipped_count_stddev)
        count = self.audit_canaries
        checks.check(count == 0 or count >= 10, "audit_canaries", count, "0, or 10 or more")
        checks.at_least(1, "restart_every", self.restart_every)
        checks.at_least(1, "max_participations", self.max_participations)
        checks.at_least(0, "min_separation", self.min_separation)
        bits = self.distributed_bits
        checks.check(1 <= bits <= 22, "distributed_bits", bits, "from 1 to 22")

    def _refuse_all(self) -> None:
        for name, default in _DEFAULTS.items():
            if name != "dp" and getattr(self, name) != default:
                checks.refuse(name, getattr(self, name), "only with a mechanism: set --dp")


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(PrivacyFlags)}
