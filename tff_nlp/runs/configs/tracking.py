"""Which experiment trackers receive a run."""

import dataclasses
import importlib.util

from tff_nlp.runs import checks
from tff_nlp.runs.options import option

# The trackers by their names, which are also those of their packages and extras.
TRACKERS = {"mlflow": "MLflow", "wandb": "Weights & Biases"}


@dataclasses.dataclass(frozen=True)
class TrackingConfig:
    """Experiment trackers. They change nothing in a run, so a run is the same with and without."""

    trackers: str = option(
        "",
        "Experiment trackers that receive the run besides TensorBoard, separated by commas: "
        f"{', '.join(TRACKERS)}; empty: none.",
    )

    def __post_init__(self) -> None:
        names = self.names()
        for name in names:
            if name not in TRACKERS:
                why = f"there is no tracker {name or 'without a name'}; take {', '.join(TRACKERS)}"
                checks.refuse("trackers", self.trackers, why)
            if names.count(name) > 1:
                checks.refuse("trackers", self.trackers, f"names {name} twice")
            if not _is_installed(name):
                why = f"{TRACKERS[name]} is not installed; EXTRAS={name} scripts/setup adds it"
                checks.refuse("trackers", name, why)

    def names(self) -> tuple[str, ...]:
        """Returns the names of the trackers."""
        if not self.trackers:
            return ()
        return tuple(name.strip() for name in self.trackers.split(","))


def _is_installed(package: str) -> bool:
    found = importlib.util.find_spec(package)
    # W&B leaves folders of its name, and Python takes a folder in its path for an empty package.
    return found is not None and found.origin is not None
