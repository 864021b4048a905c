"""The configuration of a central run."""

import dataclasses

from tff_nlp.models.adapters import names
from tff_nlp.runs import checks
from tff_nlp.runs.configs.central import CentralConfig
from tff_nlp.runs.configs.client_training import ClientTrainingConfig
from tff_nlp.runs.configs.corpus import CorpusConfig
from tff_nlp.runs.configs.model import ModelConfig
from tff_nlp.runs.configs.place import PlaceConfig
from tff_nlp.runs.configs.tracking import TrackingConfig


@dataclasses.dataclass(frozen=True)
class CentralRun:
    """All parts of a central run. Each field is a group of flags of the training script."""

    corpus: CorpusConfig = CorpusConfig()
    model: ModelConfig = ModelConfig()
    training: ClientTrainingConfig = ClientTrainingConfig()
    central: CentralConfig = CentralConfig()
    place: PlaceConfig = PlaceConfig()
    tracking: TrackingConfig = TrackingConfig()

    def __post_init__(self) -> None:
        method = self.model.lora_aggregation
        if self.model.adapter == names.LORA and method in names.OF_CLIENTS:
            checks.refuse("lora_aggregation", method, "joins clients, and there are none here")
