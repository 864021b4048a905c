"""Federated algorithms: client update, aggregator and server update composed to a process."""

import dataclasses
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.learning import (
    client_update,
    client_work,
    optimizers,
    schedules,
    server_update,
)
from tff_nlp.learning.example_privacy import ExamplePrivacy
from tff_nlp.models import classifier
from tff_nlp.privacy import contract, distributed_mean

ALGORITHMS = ("fedavg", "fedprox")


@dataclasses.dataclass(frozen=True)
class AlgorithmConfig:
    """An algorithm and its settings.

    Attributes:
      name: "fedavg" (McMahan et al. 2017, Algorithm 1; with another server optimizer than SGD it
        is FedOpt, Reddi et al. 2021) or "fedprox" (Li et al. 2020).
      client_optimizer: The client's optimizer.
      server_optimizer: The server's optimizer.
      weighting: "examples" or "uniform".
      proximal_strength: mu of FedProx, above 0 for it and 0 for FedAvg.
      logit_adjustment: How much of the logarithm of a client's label frequencies is added to its
        logits in training, against label skew (see `client_update.log_prior`); 0 without.
      schedule: Of the client's learning rate over rounds.
      example_privacy: Of DP-SGD within clients; None without.
      canaries: Clients of an audit; None without.
      allow_dp_mismatch: Whether DP-SGD may go with settings that void its epsilon.
    """

    name: str = "fedavg"
    client_optimizer: optimizers.ClientOptimizer = optimizers.ClientOptimizer()
    server_optimizer: optimizers.ServerOptimizer = optimizers.ServerOptimizer()
    weighting: str = "examples"
    proximal_strength: float = 0.0
    logit_adjustment: float = 0.0
    schedule: schedules.LinearSchedule = schedules.LinearSchedule()
    example_privacy: ExamplePrivacy | None = None
    canaries: client_update.Canaries | None = None
    allow_dp_mismatch: bool = False

    def __post_init__(self) -> None:
        if self.name not in ALGORITHMS:
            raise errors.UserError(
                f"--algorithm={self.name}: choose one of {', '.join(ALGORITHMS)}"
            )
        if self.name == "fedprox" and not self.proximal_strength > 0:
            raise errors.UserError(
                f"--proximal_strength={self.proximal_strength}: --algorithm=fedprox needs a value "
                "above 0, for example 0.01"
            )
        if self.name != "fedprox" and self.proximal_strength:
            raise errors.UserError(
                f"--proximal_strength={self.proximal_strength}: only --algorithm=fedprox uses it"
            )
        if not 0 <= self.logit_adjustment < float("inf"):
            raise errors.UserError(
                f"--logit_adjustment={self.logit_adjustment}: must be 0 or more, and finite"
            )
        if self.example_privacy is not None and not self.allow_dp_mismatch:
            for found in (
                contract.weighting_violation(self.weighting),
                contract.labels_violation(self.logit_adjustment),
            ):
                if found:
                    raise errors.UserError(found)


def build_process(
    model: classifier.Classifier,
    config: AlgorithmConfig,
    *,
    aggregator: tff.aggregators.WeightedAggregationFactory
    | tff.aggregators.UnweightedAggregationFactory
    | None = None,
    seed: int = 0,
) -> tff.learning.templates.LearningProcess:
    """Builds the federated process that trains a classifier.

    Call `initial_state` for the state of the first round: the model's weights are too large to be
    constants of a computation, and `process.initialize()` alone fills them with NaN, so that
    nobody trains from anything else by mistake.

    Args:
      model: The classifier.
      config: The algorithm and its settings.
      aggregator: Combines the clients' updates; by default their mean, weighted as the
        configuration says.
      seed: Of dropout.

    Returns:
      The process; `next` takes a list with one data set of batches (see
      `client_work.BATCH_SPEC`) per client.
    """
    work = client_work.build_client_work(
        model,
        client_update.LocalTraining(
            config.client_optimizer,
            config.proximal_strength,
            config.logit_adjustment,
            config.example_privacy,
            config.canaries,
        ),
        weighting=config.weighting,
        schedule=config.schedule,
        seed=seed,
        keyed=isinstance(aggregator, distributed_mean.DistributedMeanFactory),
    )
    model_type = client_work.weights_type(model)
    result_type = work.next.type_signature.result.result.member
    if aggregator is None:
        aggregator = tff.aggregators.MeanFactory()
    if isinstance(aggregator, tff.aggregators.UnweightedAggregationFactory):
        aggregator = tff.aggregators.as_weighted_aggregator(aggregator)

    @tff.tensorflow.computation
    def no_weights() -> Any:
        specs = tff.types.type_to_tf_tensor_specs(model_type)
        return tf.nest.map_structure(
            lambda s: tf.fill(s.shape, tf.cast(float("nan"), s.dtype)), specs
        )

    return tff.learning.templates.compose_learning_process(
        no_weights,
        tff.learning.templates.build_broadcast_process(model_type),
        work,
        aggregator.create(result_type.update, result_type.update_weight),
        server_update.build_server_update(model_type, config.server_optimizer),
    )


def initial_state(
    process: tff.learning.templates.LearningProcess, model: classifier.Classifier
) -> tff.learning.templates.LearningAlgorithmState:
    """Returns the state of the first round, with the model's weights."""
    trainable, frozen = model.initial_weights()
    return process.set_model_weights(
        process.initialize(),
        tff.learning.models.ModelWeights(tuple(trainable), tuple(frozen)),
    )
