"""The ways to send fewer bytes that are compared."""

import dataclasses

from tff_nlp.aggregation.compression import names
from tff_nlp.runs import checks
from tff_nlp.runs.configs import compression as compressions
from tff_nlp.runs.options import option

_DEFAULT = ("none", "none/8", "top_k", "top_k/8", "random_k", "power_sgd", "signs")


@dataclasses.dataclass(frozen=True)
class CompressionPlanConfig:
    """The ways to send fewer bytes that are compared."""

    compressions: str = option(
        ",".join(_DEFAULT),
        "Values of `compression`, separated by commas; after a slash, the value of `upload_bits`.",
    )

    def __post_init__(self) -> None:
        given = [part.strip() for part in self.compressions.split(",")]
        bits = tuple(map(str, compressions.UPLOAD_BITS))
        for part in given:
            name, slash, after = part.partition("/")
            known = name in names.COMPRESSIONS and (after in bits or not slash)
            wanted = f"some of {', '.join(names.COMPRESSIONS)}, each with /8 or /4 or without"
            checks.check(known, "compressions", part, wanted)
        pairs = self.pairs()
        for name, rounded in pairs:
            compressions.CompressionConfig(compression=name, upload_bits=rounded)
        distinct = len(set(pairs)) == len(pairs)
        checks.check(distinct, "compressions", self.compressions, "without repetition")

    def pairs(self) -> tuple[tuple[str, int], ...]:
        """Returns the values of `compression` and of `upload_bits` of each run."""
        parts = [part.strip().partition("/") for part in self.compressions.split(",")]
        return tuple((name, int(after or compressions.FLOAT_BITS)) for name, _, after in parts)
