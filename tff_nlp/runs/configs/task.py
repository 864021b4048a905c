"""What a model learns."""

import dataclasses

from tff_nlp.runs.configs.task_names import CLASSIFICATION, TASKS
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What a model learns."""

    task: str = option(
        CLASSIFICATION,
        "What the model learns: the label of a text, the label of a pair of texts, or the next "
        "token of a text.",
        TASKS,
    )
