"""The configurations of runs and of plans for them: frozen dataclasses, without TensorFlow."""

from tff_nlp.runs.configs.aggregation import AggregationConfig
from tff_nlp.runs.configs.attack import AttackConfig
from tff_nlp.runs.configs.budget_plan import BudgetPlanConfig
from tff_nlp.runs.configs.central import CentralConfig
from tff_nlp.runs.configs.central_run import CentralRun
from tff_nlp.runs.configs.client_training import ClientTrainingConfig
from tff_nlp.runs.configs.clients import ClientsConfig
from tff_nlp.runs.configs.compression import CompressionConfig
from tff_nlp.runs.configs.compression_plan import CompressionPlanConfig
from tff_nlp.runs.configs.corpus import CorpusConfig
from tff_nlp.runs.configs.devices import DevicesConfig
from tff_nlp.runs.configs.distillation import DistillationConfig
from tff_nlp.runs.configs.epsilon import EpsilonConfig
from tff_nlp.runs.configs.execution import ExecutionConfig
from tff_nlp.runs.configs.federated import FederatedConfig
from tff_nlp.runs.configs.federated_run import FederatedRun
from tff_nlp.runs.configs.inversion import InversionConfig
from tff_nlp.runs.configs.model import ModelConfig
from tff_nlp.runs.configs.personalization import PersonalizationConfig
from tff_nlp.runs.configs.place import PlaceConfig
from tff_nlp.runs.configs.privacy import PrivacyConfig
from tff_nlp.runs.configs.reading import ReadingConfig
from tff_nlp.runs.configs.robustness import RobustnessConfig
from tff_nlp.runs.configs.rounds import RoundsConfig
from tff_nlp.runs.configs.tracking import TrackingConfig
from tff_nlp.runs.configs.tuning import TuningConfig
from tff_nlp.runs.configs.unused import reset_unused, without_effect

__all__ = [
    "AggregationConfig",
    "AttackConfig",
    "BudgetPlanConfig",
    "CentralConfig",
    "CentralRun",
    "ClientTrainingConfig",
    "ClientsConfig",
    "CompressionConfig",
    "CompressionPlanConfig",
    "CorpusConfig",
    "DevicesConfig",
    "DistillationConfig",
    "EpsilonConfig",
    "ExecutionConfig",
    "FederatedConfig",
    "FederatedRun",
    "InversionConfig",
    "ModelConfig",
    "PersonalizationConfig",
    "PlaceConfig",
    "PrivacyConfig",
    "ReadingConfig",
    "RobustnessConfig",
    "RoundsConfig",
    "TuningConfig",
    "TrackingConfig",
    "reset_unused",
    "without_effect",
]
