"""A federation over machines: the coordinator, a silo, and their keys."""

import dataclasses

from tff_nlp.runs import checks
from tff_nlp.runs.configs.reading import LabelledReadingConfig
from tff_nlp.runs.configs.task_names import LANGUAGE_MODEL
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class CoordinatorConfig:
    """The coordinator of a federation."""

    identity: str = option(
        "", "Folder with the coordinator's keys, from experiments/enroll.py.", path=True
    )
    listen: str = option("0.0.0.0:8470", "host:port on which silos reach the coordinator.")
    status: str = option(
        "127.0.0.1:8471", "host:port of the status page and of /metrics; empty: none."
    )
    labels: str = option(
        "", "Names of the labels, separated by commas. Silos refuse texts with another label."
    )
    clients_per_round: int | None = option(None, "Number of silos in a round; empty: all silos.")
    max_failed_clients: int = option(
        0, "Number of silos that may fail in a round. With more, the round is tried again."
    )
    round_seconds: float = option(
        600.0, "Seconds after which a round ends without the silos that are late."
    )

    def __post_init__(self) -> None:
        checks.at_least(1, "clients_per_round", self.clients_per_round)
        checks.at_least(0, "max_failed_clients", self.max_failed_clients)
        checks.above_zero("round_seconds", self.round_seconds)
        if not self.identity:
            checks.refuse_missing("identity", "is needed: the folder with the coordinator's keys")

    def label_names(self, task: str) -> tuple[str, ...]:
        """Returns the names of the labels.

        Args:
          task: Name of the task.

        Raises:
          UserError: If there are none and the task needs them, or one occurs twice.
        """
        names = tuple(name.strip() for name in self.labels.split(",") if name.strip())
        if task == LANGUAGE_MODEL:
            if names:
                checks.refuse("labels", self.labels, f"`task`={LANGUAGE_MODEL} has no labels")
            return ()
        if len(names) < 2:
            checks.refuse("labels", self.labels, "give two names or more, separated by commas")
        if len(set(names)) < len(names):
            checks.refuse("labels", self.labels, "a name occurs twice")
        return names


@dataclasses.dataclass(frozen=True)
class OwnTextsConfig(LabelledReadingConfig):
    """The texts of one party. They stay with it."""

    corpus: str = option(
        "", "File with the texts: a silo trains on them, the coordinator tests on them.", path=True
    )


@dataclasses.dataclass(frozen=True)
class SiloConfig:
    """A silo of a federation."""

    coordinator: str = option("", "host:port of the coordinator.")
    identity: str = option(
        "", "Folder with the silo's keys, from experiments/enroll.py.", path=True
    )
    silo_dir: str = option(
        "",
        "Folder of the silo's own files: the approved plan, the record of what was sent, and what "
        "the silo keeps between rounds.",
        path=True,
    )
    policy: str = option(
        "", "JSON file with the limits of the operator; see docs/federation.md.", path=True
    )
    approve: bool = option(
        False, "Show the coordinator's plan, check it, and approve it. Nothing is sent."
    )
    encoder_folder: str = option(
        "", "Folder of the encoder here, if the plan's encoder is a folder.", path=True
    )
    cache_dir: str = option(
        "", "Folder of token caches; empty: tff_nlp in $XDG_CACHE_HOME or ~/.cache.", path=True
    )
    patience_seconds: float = option(
        3600.0, "Seconds after which the silo gives up if the coordinator is away."
    )
    status: str = option("", "host:port of the status page and of /metrics; empty: none.")

    def __post_init__(self) -> None:
        checks.above_zero("patience_seconds", self.patience_seconds)
        for name in ("coordinator", "identity", "silo_dir"):
            if not getattr(self, name):
                checks.refuse_missing(name, "is needed")


@dataclasses.dataclass(frozen=True)
class EnrolmentConfig:
    """The keys of a federation."""

    output_dir: str = option("", "New folder for the keys of all parties.", path=True)
    silos: str = option("", "Names of the silos, separated by commas.")
    hosts: str = option(
        "localhost,127.0.0.1",
        "Names and addresses under which silos reach the coordinator, separated by commas.",
    )
    days: int = option(365, "Number of days for which the certificates are valid.")

    def __post_init__(self) -> None:
        checks.at_least(1, "days", self.days)
        if not self.output_dir:
            checks.refuse_missing("output_dir", "is needed: a new folder")
