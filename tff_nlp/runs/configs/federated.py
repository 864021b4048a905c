"""The federated algorithm."""

import dataclasses
import math

from tff_nlp.privacy import names
from tff_nlp.runs import checks
from tff_nlp.runs.options import option

DISTILLING = ("feddf", "fedmd", "dsfl")
ALGORITHMS = (
    *("fedavg", "fedprox", "scaffold", "mime_lite", "fedbuff", "fedper", "ditto", "qfedavg"),
    *DISTILLING,
)
# The name of fedavg with LoRA whose factors B stay at the clients, see `FederatedRun`.
FEDSA = "fedsa"


@dataclasses.dataclass(frozen=True)
class FederatedConfig:
    """The federated algorithm."""

    algorithm: str = option(
        "fedavg",
        "Federated algorithm. fedavg; fedprox: a proximal term keeps clients near the global "
        "model; scaffold: control variates correct each client's drift; mime_lite: clients use "
        "the server's optimizer state; fedbuff: the server does not wait for clients, and steps"
        " whenever `clients_per_round` updates have arrived; fedper: each client keeps a head "
        "of its own; ditto: each client also trains a model of its own near the global model; "
        "qfedavg: clients with a larger loss weigh more; feddf: the server also learns from the"
        " clients' logits on public texts; fedmd, dsfl: clients keep their models and send only"
        " logits or probabilities on public texts.",
        ALGORITHMS,
    )
    proximal_strength: float = option(0.01, "fedprox: factor mu of the proximal term.")
    ditto_strength: float = option(
        0.1,
        "ditto: factor lambda of the term that keeps a client's own model near the global model.",
    )
    fairness_q: float = option(
        1.0, "qfedavg: exponent q of the losses; 0: fedavg; a larger q makes them more equal."
    )
    logit_adjustment: float = option(
        0.0,
        "Correction of label skew: in training, each client adds this factor times its log label "
        "frequencies to the logits; 0: no correction.",
    )
    weighting: str = option(
        "auto",
        "Weights of the clients' updates; auto: uniform with `dp`, fedmd and dsfl, else examples.",
        ("auto", "examples", "uniform"),
    )
    secure_aggregation: str = option(
        names.NONE,
        "How updates are added up. none: as floats in the clear; plain: as integers, with a secure "
        "sum that is simulated in the clear; masked: with the protocol of Bonawitz et al. 2017; "
        "ckks: under homomorphic encryption.",
        names.SUMS,
    )
    secure_aggregation_threshold: int | None = option(
        None,
        "masked: number of clients that must stay to the end; empty: the smallest safe number.",
    )
    secure_aggregation_colluders: int | None = option(
        None,
        "masked: number of clients that may collude with a lying server; empty: all below a third.",
    )
    client_epochs: int = option(1, "Number of local epochs in a round.")
    local_steps: int | None = option(
        None, "Number of batches per client and round, instead of `client_epochs`."
    )
    warmup_rounds: int = option(0, "Number of rounds in which the client's learning rate rises.")
    decay_learning_rate: bool = option(False, "Decrease the client's learning rate linearly to 0.")
    server_optimizer: str = option(
        "sgd", "Optimizer of the server.", ("sgd", "adam", "yogi", "adagrad")
    )
    server_learning_rate: float = option(1.0, "Learning rate of the server.")
    server_momentum: float = option(0.0, "Momentum of the server's sgd.")
    server_epsilon: float = option(1e-3, "Adaptivity (tau) of adam, yogi and adagrad.")

    def __post_init__(self) -> None:
        for name, least in (
            ("secure_aggregation_threshold", 2),
            ("secure_aggregation_colluders", 0),
        ):
            value = getattr(self, name)
            checks.at_least(least, name, value)
            if value is not None and self.secure_aggregation != names.MASKED:
                checks.refuse(name, value, "only `secure_aggregation`=masked uses it")
        adjustment = self.logit_adjustment
        checks.check(
            0 <= adjustment < math.inf, "logit_adjustment", adjustment, "0 or more, and finite"
        )
        checks.at_least(1, "client_epochs", self.client_epochs)
        checks.at_least(1, "local_steps", self.local_steps)
        if self.local_steps is not None and self.client_epochs != 1:
            checks.refuse("client_epochs", self.client_epochs, "`local_steps` is given instead")
        checks.at_least(0, "warmup_rounds", self.warmup_rounds)
        checks.above_zero("server_learning_rate", self.server_learning_rate)
        checks.above_zero("server_epsilon", self.server_epsilon)
        checks.momentum("server", self.server_optimizer, self.server_momentum)
        checks.above_zero("proximal_strength", self.proximal_strength)
        checks.above_zero("ditto_strength", self.ditto_strength)
        fairness = self.fairness_q
        checks.check(0 <= fairness < math.inf, "fairness_q", fairness, "0 or more, and finite")
