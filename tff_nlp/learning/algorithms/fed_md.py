"""FedMD: clients share logits on public texts, and learn from their mean.

Li and Wang 2019, "FedMD: Heterogenous Federated Learning via Model Distillation", algorithm 1.
"""

from collections.abc import Sequence

from tff_nlp.learning import client_work, composition, distillation, logit_rounds, stateful
from tff_nlp.tasks import task as tasks


def fed_md(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    public: distillation.PublicTexts,
    learning: distillation.Distillation | None = None,
    aggregator: composition.Aggregator | None = None,
    allow_dp_mismatch: bool = False,
    kinds: Sequence[logit_rounds.Kind] = (),
) -> stateful.StatefulProcess:
    """Builds the process, see `logit_rounds`: the targets are softmax(mean of the logits).

    The paper leaves the loss of the distillation open; here it is KL(target || model). Its clients
    first train on labels of the public texts. Here the public texts have none. The model of the
    server, which learns from the same targets, is not in the paper.

    Args:
      task: The task, with `categories`.
      local: How clients train. The paper's mean has uniform weights.
      public: The public texts.
      learning: How clients and server learn from the targets.
      aggregator: Aggregator of the clients' logits.
      allow_dp_mismatch: See `fed_avg`.
      kinds: The kinds of clients, if their models differ, see `logit_rounds`.

    Raises:
      UserError: See `logit_rounds`.
    """
    return logit_rounds.logit_rounds(
        task,
        local,
        public=public,
        learning=learning,
        aggregator=aggregator,
        allow_dp_mismatch=allow_dp_mismatch,
        kinds=kinds,
        algorithm="fedmd",
        share=lambda logits: logits,
        targets=distillation.targets,
    )
