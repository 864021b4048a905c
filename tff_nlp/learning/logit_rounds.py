"""Rounds in which clients send their outputs on public texts instead of weights.

FedMD and DS-FL are such rounds. They differ in what a client sends of its logits, and in what all
models learn from the mean. Since no weights are sent, clients may have models of different kinds.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.learning import client_input, client_work, composition, distillation, stateful
from tff_nlp.privacy import distributed_mean
from tff_nlp.tasks import task as tasks

# Logits, float32[texts, categories] -> what a client sends of them, with the same shape.
Share = Callable[[tf.Tensor], tf.Tensor]
# The mean of what clients sent by `distillation.to_send` -> targets, see `distillation.targets`.
Targets = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of client: its model, and the public texts as the model reads them.

    Attributes:
      task: The task of its model. All kinds have the same batches, sums and categories.
      public: The public texts. All kinds have the same texts with the same numbers.
    """

    task: tasks.Task
    public: distillation.PublicTexts

    @property
    def sizes(self) -> list[int]:
        """The number of elements of each trainable weight."""
        return [spec.shape.num_elements() for spec in self.task.weight_specs()[0]]

    def flatten(self, trainable: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the trainable weights as one vector, which is the state of a client."""
        return tf.concat([tf.reshape(w, [-1]) for w in trainable], axis=0)

    def unflatten(self, vector: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns the trainable weights of a client from its state."""
        whole = tf.ensure_shape(vector, [sum(self.sizes)])
        parts = tf.split(whole, self.sizes)
        specs = self.task.weight_specs()[0]
        return tuple(tf.reshape(p, s.shape) for p, s in zip(parts, specs, strict=True))


def logit_rounds(
    task: tasks.Task,
    local: client_work.LocalWork | None,
    *,
    public: distillation.PublicTexts,
    learning: distillation.Distillation | None,
    aggregator: composition.Aggregator | None,
    allow_dp_mismatch: bool,
    algorithm: str,
    share: Share,
    targets: Targets,
    kinds: Sequence[Kind] = (),
) -> stateful.StatefulProcess:
    """Builds the process. Each client keeps a model of its own, which is never sent.

    In a round, a client receives the targets of the last round, and learns from them on the public
    texts. Then it takes its local steps. It sends its outputs on the public texts. The server
    computes the new targets from their mean, and its own model learns from them. Before its first
    round, a client's model is the initial model of its kind, which it receives once.

    A client sends and receives 4 bytes for each text and category, whatever the size of its model.

    Args:
      task: The task of the server's model, with `categories`.
      local: How clients train. `weighting` says how much the outputs of each client weigh.
      public: The public texts.
      learning: How clients and server learn from the targets; None for SGD and one pass.
      aggregator: Aggregator of the clients' outputs. They are one update of a client, see
        `distillation.to_send`.
      allow_dp_mismatch: See `fed_avg`.
      algorithm: Name of the algorithm, one that `privacy.contract` knows.
      share: What a client sends of its logits.
      targets: What all models learn from the mean.
      kinds: The kinds of clients. Each client then says its kind in its input, see
        `client_input.KIND`. Empty if all clients have the task of the server.

    Returns:
      The process. Its model is the server's. With several kinds, it has no `own_model`.

    Raises:
      UserError: If the task has no categories, or settings and mechanism are not compatible.
    """
    local = local or client_work.LocalWork()
    server = Kind(task, public)
    rounds = _Rounds(
        server, tuple(kinds) or (server,), local, learning or distillation.Distillation(), share
    )
    for kind in (server, *rounds.kinds):
        distillation.check(kind.task, algorithm)
    conduct = composition.check(
        task, local, aggregator, algorithm=algorithm, allow_dp_mismatch=allow_dp_mismatch
    )
    work = rounds.build_work(keyed=composition.keyed(aggregator))
    client_type = work.type_signature.parameter[2]
    update_type, weight_type, sums_type, _ = work.type_signature.result
    outputs = composition.weighted(aggregator).create(update_type, weight_type)
    finish = rounds.build_finish(outputs.next.type_signature.result.result.member, targets)
    summarize = client_work.build_summary(task, sums_type)

    @tff.tensorflow.computation
    def first() -> Any:
        return tf.zeros([], tf.int32), tf.zeros(rounds.matrix.shape)

    @tff.tensorflow.computation(rounds.model_type)
    def once(weights: Any) -> Any:
        sent = tuple(weights.non_trainable)[len(task.frozen_names) :]
        return tff.learning.models.ModelWeights((), sent)

    initialize = composition.initialization(
        rounds.model_type,
        lambda: tff.federated_eval(first, tff.SERVER),
        outputs.initialize,
        lambda: tff.federated_value((), tff.SERVER),
    )

    @tff.federated_computation(
        initialize.type_signature.result, tff.FederatedType(client_type, tff.CLIENTS)
    )
    def next_fn(state: Any, clients: Any) -> Any:
        kept_once = tff.federated_map(once, state.global_model_weights)
        sent = composition.at_clients(work, state.client_work, kept_once, clients)
        update, weight, sums, kept = (sent[number] for number in range(4))
        joined = outputs.next(state.aggregator, update, weight)
        trained = tff.federated_map(summarize, tff.federated_sum(sums))
        settings, weights, measured = tff.federated_map(
            finish, (state.client_work, state.global_model_weights, joined.result)
        )
        new_state = tff.federated_zip(
            tff.learning.templates.LearningAlgorithmState(
                weights, state.distributor, settings, joined.state, state.finalizer
            )
        )
        metrics = composition.metrics(trained, joined.measurements, measured)
        return stateful.StatefulOutput(new_state, metrics, kept)

    process = stateful.StatefulProcess(
        initialize,
        next_fn,
        rounds.get_model_weights,
        rounds.set_model_weights,
        (rounds.state,),
        own_model=None if kinds else rounds.own_model,
    )
    process.conduct = conduct
    return process


@dataclasses.dataclass(frozen=True, eq=False)
class _Rounds:
    """The parts of the rounds.

    The server's weights that never change are the frozen weights of its model, and then, for each
    kind of client, its frozen and its initial trainable weights. The latter are sent once.

    Attributes:
      server: The server's model.
      kinds: The kinds of clients, at least one.
      local: How clients train.
      learning: How clients and server learn from targets.
      share: What a client sends of its logits.
    """

    server: Kind
    kinds: tuple[Kind, ...]
    local: client_work.LocalWork
    learning: distillation.Distillation
    share: Share

    @property
    def matrix(self) -> tf.TensorSpec:
        """The spec of logits on the public texts."""
        return tf.TensorSpec([len(self.server.public), self.server.task.categories], tf.float32)

    @property
    def state(self) -> tf.TensorSpec:
        """The spec of a client's state. Its size is unknown if there are several kinds."""
        sizes = {sum(kind.sizes) for kind in self.kinds}
        return tf.TensorSpec([sizes.pop() if len(sizes) == 1 else None], tf.float32)

    @property
    def settings_type(self) -> tff.Type:
        """The type of what is sent in each round: round number and targets."""
        return tff.types.tensorflow_to_type((tf.TensorSpec([], tf.int32), self.matrix))

    @property
    def model_type(self) -> tff.Type:
        """The type of the weights as the server keeps them."""
        trainable, frozen = self.server.task.weight_specs()
        return self._weights_type(trainable, (*frozen, *self._once_specs()))

    def get_model_weights(self, state: Any) -> Any:
        """Returns the weights of the server's model in a state."""
        kept = state.global_model_weights
        frozen = tuple(kept.non_trainable)[: len(self.server.task.frozen_names)]
        return tff.learning.models.ModelWeights(tuple(kept.trainable), frozen)

    def set_model_weights(self, state: Any, weights: Any) -> Any:
        """Returns a state with these weights of the server's model, before the first round.

        They are also the initial weights of the clients that have the server's model. The initial
        weights of others are those of their tasks.
        """
        trainable, frozen = tuple(weights.trainable), tuple(weights.non_trainable)
        once: list[Any] = []
        for kind in self.kinds:
            if kind.task is self.server.task:
                once += [*frozen, *trainable]
            else:
                initial, fixed = kind.task.initial_weights()
                once += [*fixed, *initial]
        kept = tff.learning.models.ModelWeights(trainable, (*frozen, *once))
        return state._replace(global_model_weights=kept)

    def own_model(self, weights: Any, own: Sequence[Any]) -> Any:
        """Returns the model of a client with the server's kind of model."""
        trainable = self.server.unflatten(tf.convert_to_tensor(own[0]))
        return tff.learning.models.ModelWeights(trainable, tuple(weights.non_trainable))

    def build_work(self, *, keyed: bool) -> tff.Computation:
        """Returns the client's computation (settings, what it got once, its input) -> results.

        The results are the outputs on the public texts, their weight, the client's sums, and its
        new state.
        """
        extras: dict[str, Any] = {client_input.STATE: (self.state,)}
        if len(self.kinds) > 1:
            extras[client_input.KIND] = client_input.KIND_SPEC
        extras |= client_work.extras(self.local, keyed=keyed)
        client_type = client_input.client_type(self.server.task.batch_spec, extras)
        received_type = self._weights_type((), self._once_specs())

        @tff.tensorflow.computation(self.settings_type, received_type, client_type)
        def work(settings: Any, received: Any, client: Any) -> Any:
            once = iter(tuple(received.non_trainable))
            branches = []
            for kind in self.kinds:
                count, fixed = len(kind.sizes), len(kind.task.frozen_names)
                frozen = tuple(next(once) for _ in range(fixed))
                initial = tuple(next(once) for _ in range(count))
                branches.append(
                    functools.partial(self._work_of, kind, settings, frozen, initial, client)
                )
            number = client_input.value_of(client, client_input.KIND, tf.constant(0))
            update, sums, kept = _choose(number, branches)
            update, kept = (tf.ensure_shape(update, self.matrix.shape),), (kept,)
            update = client_work.sent(self.local, update, sums, client)
            if keyed:
                key = client_work.noise_key(client)
                silent = tf.nest.map_structure(tf.zeros_like, sums)
                return distributed_mean.KeyedUpdate(key, update), tf.ones([]), silent, kept
            return update, client_work.weight_of(sums, self.local.weighting), sums, kept

        return work

    def _work_of(
        self, kind: Kind, settings: Any, frozen: Any, initial: Any, client: Any
    ) -> tuple[Any, Any, Any]:
        """Returns the outputs, the sums and the new state of a client of this kind."""
        number, targets = settings
        (state,) = client_input.value_of(client, client_input.STATE, (kind.flatten(initial),))
        learned, _ = distillation.distil(
            kind.task,
            self.learning,
            kind.unflatten(state),
            frozen,
            kind.public,
            targets,
            round_seed=client_work.round_seed(self.local.seed, number),
        )
        begin = tff.learning.models.ModelWeights(learned, frozen)
        deltas, sums = client_work.update(kind.task, self.local, number, begin, client)
        kept = tuple(w - d for w, d in zip(learned, deltas, strict=True))
        outputs = self.share(distillation.logits(kind.task, kept, frozen, kind.public))
        return distillation.to_send(outputs), sums, kind.flatten(kept)

    def build_finish(self, mean_type: tff.Type, targets_of: Targets) -> tff.Computation:
        """Returns the server's computation (settings, weights, mean) -> new ones, measurements."""

        @tff.tensorflow.computation(self.settings_type, self.model_type, mean_type)
        @tf.function
        def finish(settings: Any, weights: Any, mean: Any) -> Any:
            number, old = settings
            new = targets_of(mean[0])
            finite = tf.reduce_any(new > 0)
            before, fixed = tuple(weights.trainable), tuple(weights.non_trainable)
            after, _ = distillation.distil(
                self.server.task,
                self.learning,
                before,
                fixed[: len(self.server.task.frozen_names)],
                self.server.public,
                new,
                round_seed=client_work.round_seed(self.local.seed, number),
            )
            norm = tf.linalg.global_norm([b - a for b, a in zip(before, after, strict=True)])
            measurements = collections.OrderedDict(
                update_non_finite=tf.cast(tf.logical_not(finite), tf.int32), update_norm=norm
            )
            new_weights = tff.learning.models.ModelWeights(after, fixed)
            return (number + 1, tf.where(finite, new, old)), new_weights, measurements

        return finish

    def _once_specs(self) -> tuple[tf.TensorSpec, ...]:
        specs: list[tf.TensorSpec] = []
        for kind in self.kinds:
            trainable, frozen = kind.task.weight_specs()
            specs += [*frozen, *trainable]
        return tuple(specs)

    def _weights_type(self, trainable: Any, non_trainable: Any) -> tff.Type:
        weights = tff.learning.models.ModelWeights(tuple(trainable), tuple(non_trainable))
        return tff.types.tensorflow_to_type(weights)


def _choose(number: tf.Tensor, branches: Sequence[Callable[[], Any]]) -> Any:
    """Returns the result of the branch with this number."""
    first, *others = branches
    if not others:
        return first()
    return tf.cond(tf.equal(number, 0), first, lambda: _choose(number - 1, others))
