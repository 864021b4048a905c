"""A matrix of attacks and aggregators."""

import dataclasses

from tff_nlp.aggregation.robust import names as robust
from tff_nlp.learning import attack_names
from tff_nlp.runs import checks
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class RobustnessConfig:
    """The attacks and the aggregators that are compared."""

    attacks: str = option(
        ",".join(attack_names.ATTACKS), "Values of `attack`, separated by commas: the rows."
    )
    aggregators: str = option(
        ",".join(robust.AGGREGATORS), "Values of `aggregator`, separated by commas: the columns."
    )

    def __post_init__(self) -> None:
        for name, choices in (
            ("attacks", attack_names.ATTACKS),
            ("aggregators", robust.AGGREGATORS),
        ):
            value = getattr(self, name)
            given = _parts(value)
            for part in given:
                checks.check(part in choices, name, part, f"some of {', '.join(choices)}")
            checks.check(len(set(given)) == len(given), name, value, "without repetition")

    def rows(self) -> tuple[str, ...]:
        """Returns the attacks."""
        return _parts(self.attacks)

    def columns(self) -> tuple[str, ...]:
        """Returns the aggregators."""
        return _parts(self.aggregators)


def _parts(given: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in given.split(","))
