"""Refuses settings with which an algorithm cannot run. This file needs no TensorFlow.

So a script can check its flags before TensorFlow is loaded, and an algorithm can check its objects.
Both report the same sentences. `privacy.contract` has those on privacy and secure sums.
"""

from tff_nlp import errors
from tff_nlp.aggregation.robust import names as robust
from tff_nlp.learning import attack_names as attacks

# The algorithms whose server may replace the updates of attackers.
_COLLUDING = ("fedavg", "fedprox")
# Why an algorithm needs the steps of plain SGD.
_PLAIN_SGD = {
    "scaffold": "computes a client's control variate from",
    "qfedavg": "scales a client's update by the step size of",
}


def check_client_optimizer(
    algorithm: str,
    name: str,
    *,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
) -> None:
    """Raises UserError if clients of an algorithm cannot train with an optimizer.

    Args:
      algorithm: Name of the algorithm.
      name: Name of the optimizer.
      momentum: Its momentum.
      weight_decay: Its weight decay.
      clip_norm: The norm to which it clips gradients; None for no clipping.
    """
    if algorithm in _PLAIN_SGD:
        demand = f"`algorithm`={algorithm} {_PLAIN_SGD[algorithm]} plain sgd"
        if name != "sgd":
            given = errors.setting("client_optimizer", name)
            raise errors.UserError(f"{given}: {demand}; take sgd")
        if momentum:
            raise errors.UserError(
                f"`client_momentum`={momentum}: {demand}, without momentum; take 0"
            )
        if clip_norm is not None:
            raise errors.UserError(
                f"`client_clip_norm`={clip_norm}: {demand}, without clipping; leave it out"
            )
    if algorithm == "mime_lite":
        for flag, value in (("weight_decay", weight_decay), ("clip_norm", clip_norm)):
            if value:
                raise errors.UserError(
                    f"`client_{flag}`={value}: `algorithm`=mime_lite steps with an optimizer of "
                    "TFF, which does not have it; leave it out"
                )


def check_attack(attack: str, algorithm: str, aggregator: str, *, has_labels: bool) -> None:
    """Raises UserError if clients cannot attack an algorithm in this way.

    Args:
      attack: One of `attack_names.ATTACKS`.
      algorithm: Name of the algorithm.
      aggregator: One of `aggregation.robust.names.AGGREGATORS`.
      has_labels: Whether the task has labels.
    """
    given = errors.setting("attack", attack)
    if attack in attacks.ON_DATA and not has_labels:
        raise errors.UserError(f"{given}: the task has no labels; take `attack`=sign_flip")
    if attack != attacks.ALIE:
        return
    if algorithm not in _COLLUDING:
        raise errors.UserError(
            f"{given}: its attackers know the updates of all clients, which only `algorithm`="
            f"{' or '.join(_COLLUDING)} can simulate"
        )
    if aggregator == robust.NORM_BOUND:
        raise errors.UserError(
            f"{given}: its attackers send what the aggregator computes for them, after "
            "`aggregator`=norm_bound has clipped updates; take another aggregator"
        )


def check_fairness(fairness: float, *, secure_sum: bool) -> None:
    """Raises UserError if a secure sum cannot add up the weights of q-FedAvg.

    Args:
      fairness: The exponent q. The weight of a client is its loss to the power q.
      secure_sum: Whether weights are added up by a secure sum. TFF's has steps of 2^-12 for them.
    """
    if secure_sum and fairness > 1:
        raise errors.UserError(
            f"`fairness_q`={fairness}: a secure sum rounds the weights of clients to 1/4096, which "
            "is too coarse for small losses to this power; take 1 or less, or no secure sum"
        )


def check_server_optimizer(method: str, name: str, learning_rate: float, momentum: float) -> None:
    """Raises UserError if the server cannot join products of factors exactly.

    Args:
      method: Name of the method by which it joins them.
      name: Name of the server's optimizer.
      learning_rate: Its learning rate.
      momentum: Its momentum.
    """
    if (name, learning_rate, momentum) != ("sgd", 1.0, 0.0):
        raise errors.UserError(
            f"`lora_aggregation`={method}: the mean of the products is exact only if the server "
            "takes whole steps; take `server_optimizer`=sgd, `server_learning_rate`=1, "
            "`server_momentum`=0"
        )


def check_local_head(task: str, *, has_head: bool, only_head: bool) -> None:
    """Raises UserError if clients cannot keep heads of their own.

    Args:
      task: Name of the task.
      has_head: Whether the task has a head.
      only_head: Whether nothing but the head trains.
    """
    if not has_head:
        raise errors.UserError(
            f"`algorithm`=fedper: the task {task} has no head that a client could keep; take "
            "`algorithm`=ditto"
        )
    if only_head:
        raise errors.UserError(
            "`algorithm`=fedper: only the head trains, and clients keep their heads, so they would "
            "share nothing; take another `trainable`"
        )
