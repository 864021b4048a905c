"""The configuration of a federated run."""

import dataclasses

from tff_nlp.learning import attack_names as attacks
from tff_nlp.models.adapters import names as adapters
from tff_nlp.privacy.contract_terms import SENDS_OUTPUTS
from tff_nlp.privacy.names import NONE
from tff_nlp.runs import checks
from tff_nlp.runs.configs.aggregation import AggregationConfig
from tff_nlp.runs.configs.attack import AttackConfig
from tff_nlp.runs.configs.client_training import ClientTrainingConfig
from tff_nlp.runs.configs.clients import ClientsConfig
from tff_nlp.runs.configs.compression import CompressionConfig
from tff_nlp.runs.configs.corpus import CorpusConfig
from tff_nlp.runs.configs.devices import DevicesConfig
from tff_nlp.runs.configs.distillation import DistillationConfig
from tff_nlp.runs.configs.execution import ExecutionConfig
from tff_nlp.runs.configs.federated import DISTILLING, FEDSA, FederatedConfig
from tff_nlp.runs.configs.model import ModelConfig
from tff_nlp.runs.configs.personalization import PersonalizationConfig
from tff_nlp.runs.configs.place import PlaceConfig
from tff_nlp.runs.configs.privacy import PrivacyConfig
from tff_nlp.runs.configs.rounds import RoundsConfig
from tff_nlp.runs.configs.task_names import LANGUAGE_MODEL
from tff_nlp.runs.configs.tracking import TrackingConfig

# The groups that say where a run goes, and nothing about what it is.
_NOT_RECORDED = ("place", "tracking")


@dataclasses.dataclass(frozen=True)
class FederatedRun:
    """All parts of a federated run. Each field is a group of flags of the training script."""

    corpus: CorpusConfig = CorpusConfig()
    clients: ClientsConfig = ClientsConfig()
    model: ModelConfig = ModelConfig()
    client_training: ClientTrainingConfig = ClientTrainingConfig()
    federated: FederatedConfig = FederatedConfig()
    aggregation: AggregationConfig = AggregationConfig()
    compression: CompressionConfig = CompressionConfig()
    distillation: DistillationConfig = DistillationConfig()
    personalization: PersonalizationConfig = PersonalizationConfig()
    rounds: RoundsConfig = RoundsConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    place: PlaceConfig = PlaceConfig()
    execution: ExecutionConfig = ExecutionConfig()
    attack: AttackConfig = AttackConfig()
    devices: DevicesConfig = DevicesConfig()
    tracking: TrackingConfig = TrackingConfig()

    def __post_init__(self) -> None:
        if self.process == FEDSA and self.federated.algorithm != "fedavg":
            why = "is an algorithm of its own; take `algorithm`=fedavg"
            checks.refuse("lora_aggregation", FEDSA, why)
        if self.distils and self.corpus.task == LANGUAGE_MODEL:
            why = (
                "distils the logits of labels, one row for each text, and a language model has one "
                "for each token; take `task`=classification or pairs"
            )
            checks.refuse("algorithm", self.federated.algorithm, why)
        if self.distils and self.privacy.dp != NONE and not self.distillation.public_corpus:
            why = (
                f"must be given with `dp`={self.privacy.dp}, since everyone sees the public texts; "
                "training texts that are set apart would have no epsilon"
            )
            checks.refuse_missing("public_corpus", why)
        if self.clients.alone:
            self._check_alone()

    def _check_alone(self) -> None:
        """Refuses what is not simulated for the clients of one domain alone."""
        for there, setting, what in (
            (self.attack.is_on, f"`attack`={self.attack.attack}", "attackers"),
            (bool(self.devices.device_profiles), "`device_profiles`", "devices"),
            (self.federated.algorithm == "fedbuff", "`algorithm`=fedbuff", "devices"),
            (self.has_other_models, "`client_encoders`", "networks of their own"),
            (bool(self.model.lora_client_ranks), "`lora_client_ranks`", "ranks of their own"),
        ):
            if there:
                why = f"{setting} gives clients {what}, and those of a domain alone have none"
                checks.refuse("alone", self.clients.alone, why)

    @property
    def distils(self) -> bool:
        """Whether models learn from outputs on public texts."""
        return self.federated.algorithm in DISTILLING

    @property
    def compares_updates(self) -> bool:
        """Whether the aggregator holds the updates of all clients of a round."""
        return self.aggregation.compares or self.attack.attack == attacks.ALIE

    @property
    def has_other_models(self) -> bool:
        """Whether the models of clients may differ from the server's."""
        return self.federated.algorithm in SENDS_OUTPUTS and bool(self.distillation.client_encoders)

    @property
    def process(self) -> str:
        """Name of the learning process: the algorithm, or "fedsa" if LoRA's B stay at clients."""
        has_lora = self.model.adapter == adapters.LORA
        keeps_b = has_lora and self.model.lora_aggregation == adapters.FEDSA
        return FEDSA if keeps_b else self.federated.algorithm

    def why_not_longer(self) -> str:
        """Returns why this run cannot get more rounds later; empty if it can."""
        if self.federated.decay_learning_rate:
            return "`decay_learning_rate` lets the learning rate reach 0 at the last round"
        if self.privacy.target_epsilon is not None and self.privacy.noise_multiplier is None:
            return "the noise for `target_epsilon` was computed for the old number of rounds"
        return ""

    def recorded(self) -> tuple[object, ...]:
        """Returns the groups that a run records: all but `place` and `tracking`."""
        return tuple(getattr(self, name) for name in self.recorded_names())

    @classmethod
    def recorded_names(cls) -> tuple[str, ...]:
        """Returns the names of the groups that a run records."""
        names = [field.name for field in dataclasses.fields(cls)]
        return tuple(name for name in names if name not in _NOT_RECORDED)
