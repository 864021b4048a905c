"""Differential privacy: the mechanism, its noise and the guarantee."""

import dataclasses

from tff_nlp.privacy import names
from tff_nlp.runs import checks
from tff_nlp.runs.options import option

MECHANISMS = (names.NONE, *names.CLIENT_LEVEL, names.EXAMPLE_LEVEL)
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
    "clipping_norm": tuple(m for m in MECHANISMS if m != names.NONE),
    "audit_canaries": names.CLIENT_LEVEL,
    "adjacency": (names.GAUSSIAN, names.ADAPTIVE_CLIPPING),
}


@dataclasses.dataclass(frozen=True)
class PrivacyConfig:
    """Differential privacy: mechanism, noise and guarantee."""

    dp: str = option(
        names.NONE,
        "Mechanism. gaussian, adaptive_clipping and tree_aggregation (DP-FTRL) protect clients; "
        "the server adds the noise. distributed protects clients; the clients add the noise. "
        "example_level (DP-SGD) protects each example of a client.",
        MECHANISMS,
    )
    noise_multiplier: float | None = option(
        None, "Standard deviation of the noise on the sum, divided by the clipping norm."
    )
    target_epsilon: float | None = option(
        None,
        "Maximum epsilon. Without `noise_multiplier`, the noise is computed such that all rounds "
        "stay within it; with `noise_multiplier`, training ends before epsilon exceeds it.",
    )
    noise_seed: int | None = option(
        None,
        "Seed that makes the noise repeatable, for research only: there is no guarantee then. "
        "Empty: the noise derives from a random secret, kept in the run's private folder.",
    )
    delta: float | None = option(
        None,
        "Delta of the guarantee; empty: n^-1.1 for n clients (example_level: for the n examples of "
        "the largest client).",
    )
    accountant: str = option(
        "rdp", "Accountant that computes the epsilon for `target_epsilon`.", names.ACCOUNTANTS
    )
    clipping_norm: float = option(
        1.0,
        "L2 norm to which updates (example_level: gradients of examples) are clipped; "
        "adaptive_clipping: the norm of the first round.",
    )
    adjacency: str = option(
        names.AUTO,
        "How neighbouring data sets differ: one client is added or removed, or one client is "
        "replaced; auto: what the mechanism's accountant assumes.",
        names.ADJACENCIES,
    )
    target_quantile: float = option(
        0.5, "adaptive_clipping: share of the updates that stay unclipped."
    )
    clipping_learning_rate: float = option(
        0.2, "adaptive_clipping: step size of the norm's geometric update."
    )
    clipped_count_stddev: float | None = option(
        None,
        "adaptive_clipping: standard deviation of the noise on the count of unclipped clients; "
        "empty: a twentieth of the cohort.",
    )
    restart_every: int | None = option(
        None, "tree_aggregation: number of rounds per tree; empty: one tree for all rounds."
    )
    efficient_tree: bool = option(True, "tree_aggregation: use Honaker's estimates of the nodes.")
    max_participations: int | None = option(
        None,
        "tree_aggregation: maximum number of rounds of a client; empty: that of `sampling`=cyclic.",
    )
    min_separation: int | None = option(
        None,
        "tree_aggregation: minimum number of rounds between two rounds of a client; empty: that of "
        "`sampling`=cyclic.",
    )
    distributed_bits: int = option(20, "distributed: bits of the integers that clients send.")
    audit_canaries: int = option(
        0,
        "Number of additional clients that send random directions. At the end, the audit computes "
        "a lower bound on epsilon from their traces; 0: no audit.",
    )
    allow_dp_mismatch: bool = option(
        False,
        "Train even if the run violates an assumption of the accountant. The run then claims no "
        "epsilon.",
    )

    def __post_init__(self) -> None:
        if self.dp == names.NONE:
            self._refuse_all()
            return
        for name, mechanisms in _ONLY_FOR.items():
            if self.dp not in mechanisms and getattr(self, name) != _DEFAULTS[name]:
                checks.refuse(name, getattr(self, name), f"`dp`={self.dp} does not use it")
        noise, target = self.noise_multiplier, self.target_epsilon
        if noise is None and target is None:
            checks.refuse("dp", self.dp, "give `noise_multiplier` or `target_epsilon`")
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
                checks.refuse(name, getattr(self, name), "only with a mechanism: set `dp`")


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(PrivacyConfig)}
