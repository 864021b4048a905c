"""How clients send their updates in fewer bytes."""

import dataclasses

from tff_nlp.aggregation.compression import names
from tff_nlp.runs import checks
from tff_nlp.runs.options import option

# Bits per number that a client sends. The first is without rounding.
FLOAT_BITS, *_ = UPLOAD_BITS = (32, 8, 4)


@dataclasses.dataclass(frozen=True)
class CompressionConfig:
    """How clients send their updates in fewer bytes."""

    compression: str = option(
        names.NONE,
        "What a client sends of its update. none: all numbers; top_k: the largest ones; random_k: "
        "random ones; power_sgd: matrices of low rank; signs: the signs and a scale for each "
        "tensor.",
        names.COMPRESSIONS,
    )
    compression_fraction: float | None = option(
        None,
        "top_k, random_k: fraction of the numbers that is sent; empty: "
        + ", ".join(f"{share} for {name}" for name, share in names.FRACTIONS.items())
        + ".",
    )
    compression_rank: int = option(4, "power_sgd: rank of the matrices.")
    error_feedback: bool = option(
        True,
        ", ".join(names.BIASED) + ": clients keep what was left out, and add it to their next "
        "update.",
    )
    upload_bits: int = option(
        FLOAT_BITS,
        "Bits per number that a client sends. 32: no rounding; 8 or 4: stochastic rounding.",
    )

    def __post_init__(self) -> None:
        bits, fraction = self.upload_bits, self.compression_fraction
        checks.check(bits in UPLOAD_BITS, "upload_bits", bits, "32, 8 or 4")
        if fraction is not None:
            limits = "above 0 and at most 1"
            checks.check(0 < fraction <= 1, "compression_fraction", fraction, limits)
        checks.at_least(1, "compression_rank", self.compression_rank)
        if self.rounds and self.compression not in (names.NONE, *names.WITH_FLOATS):
            checks.refuse(
                "upload_bits", bits, f"`compression`={self.compression} sends single bits"
            )

    @property
    def rounds(self) -> bool:
        """Whether numbers are rounded."""
        return self.upload_bits != FLOAT_BITS

    @property
    def setting(self) -> str:
        """The argument that makes clients send fewer bytes, as marked text; empty without one."""
        if self.compression != names.NONE:
            return f"`compression`={self.compression}"
        return f"`upload_bits`={self.upload_bits}" if self.rounds else ""

    @property
    def keeps_error(self) -> bool:
        """Whether clients keep what was left out."""
        return self.error_feedback and self.compression in names.BIASED
