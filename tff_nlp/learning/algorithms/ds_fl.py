"""DS-FL: clients share probabilities on public texts, and learn from their sharpened mean.

Itahara et al. 2020, "Distillation-Based Semi-Supervised Federated Learning for
Communication-Efficient Collaborative Training with Non-IID Private Data", algorithm 1.
"""

import functools
from collections.abc import Sequence

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.learning import client_work, composition, distillation, logit_rounds, stateful
from tff_nlp.tasks import task as tasks


def ds_fl(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    public: distillation.PublicTexts,
    learning: distillation.Distillation | None = None,
    temperature: float = 0.1,
    aggregator: composition.Aggregator | None = None,
    allow_dp_mismatch: bool = False,
    kinds: Sequence[logit_rounds.Kind] = (),
) -> stateful.StatefulProcess:
    """Builds the process, see `logit_rounds`: the targets are softmax(mean / temperature).

    This is the paper's entropy reduction aggregation: the mean of the clients' probabilities is
    flat where they disagree, and the temperature sharpens it.

    Args:
      task: The task, with `categories`.
      local: How clients train. The paper's mean has uniform weights.
      public: The public texts.
      learning: How clients and server learn from the targets.
      temperature: The temperature T of the paper, above 0.
      aggregator: Aggregator of the clients' probabilities.
      allow_dp_mismatch: See `fed_avg`.
      kinds: The kinds of clients, if their models differ, see `logit_rounds`.

    Raises:
      UserError: If the temperature is out of range; else see `logit_rounds`.
    """
    if not 0 < temperature < float("inf"):
        raise errors.UserError(f"`dsfl_temperature`={temperature}: must be above 0 and finite")
    return logit_rounds.logit_rounds(
        task,
        local,
        public=public,
        learning=learning,
        aggregator=aggregator,
        allow_dp_mismatch=allow_dp_mismatch,
        kinds=kinds,
        algorithm="dsfl",
        share=tf.nn.softmax,
        targets=functools.partial(distillation.targets, temperature=temperature),
    )
