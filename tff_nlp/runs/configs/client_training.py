"""Local training of one client."""

import dataclasses
import math

from tff_nlp.runs import checks
from tff_nlp.runs.options import option

# Default learning rates of clients, by optimizer.
LEARNING_RATES = {"adamw": 1e-4, "sgd": 0.1}
# The same for an adapter, which has few weights, some of them zero at the start.
ADAPTER_LEARNING_RATES = {"adamw": 3e-3, "sgd": 0.5}

# Algorithms that compute with the steps of plain sgd.
_PLAIN_SGD = ("scaffold", "qfedavg")


@dataclasses.dataclass(frozen=True)
class ClientTrainingConfig:
    """Local training of one client; in central training, one client holds all data."""

    batch_size: int = option(
        32, "Maximum number of examples in a batch; with `dp`=example_level the expected number."
    )
    client_optimizer: str = option(
        "auto",
        "Optimizer of a client; auto: sgd with `algorithm`=scaffold or qfedavg, else adamw.",
        ("auto", "sgd", "adamw"),
    )
    client_learning_rate: float | None = option(
        None,
        "Learning rate of a client; empty: "
        + ", ".join(
            f"{rate:g} with {name} ({ADAPTER_LEARNING_RATES[name]:g} for an adapter)"
            for name, rate in LEARNING_RATES.items()
        )
        + ".",
    )
    client_momentum: float = option(0.0, "Momentum of sgd.")
    client_weight_decay: float = option(0.0, "Weight decay of adamw, without biases and norms.")
    client_clip_norm: float | None = option(
        None, "L2 norm to which a batch's gradient is clipped; empty: no clipping."
    )

    def __post_init__(self) -> None:
        checks.at_least(1, "batch_size", self.batch_size)
        if self.client_learning_rate is not None:
            checks.above_zero("client_learning_rate", self.client_learning_rate)
        checks.momentum("client", self.client_optimizer, self.client_momentum)
        decay = self.client_weight_decay
        checks.check(0 <= decay < math.inf, "client_weight_decay", decay, "0 or more, and finite")
        if decay and self.client_optimizer == "sgd":
            checks.refuse("client_weight_decay", decay, "only `client_optimizer`=adamw uses it")
        if self.client_clip_norm is not None:
            checks.above_zero("client_clip_norm", self.client_clip_norm)

    def resolved(self, algorithm: str = "", *, has_adapter: bool = False) -> "ClientTrainingConfig":
        """Returns the config with the default optimizer and learning rate filled in.

        Args:
          algorithm: Name of the federated algorithm; empty for central training.
          has_adapter: Whether the model has an adapter.
        """
        name = self.client_optimizer
        if name == "auto":
            name = "sgd" if algorithm in _PLAIN_SGD else "adamw"
        rates = ADAPTER_LEARNING_RATES if has_adapter else LEARNING_RATES
        rate = self.client_learning_rate
        return dataclasses.replace(
            self,
            client_optimizer=name,
            client_learning_rate=rates[name] if rate is None else rate,
        )

    def known_learning_rate(self) -> float:
        """Returns the learning rate of a config that `resolved` returned.

        Raises:
          ValueError: If there is no learning rate.
        """
        if self.client_learning_rate is None:
            raise ValueError("client_learning_rate is not set; call resolved() first")
        return self.client_learning_rate
