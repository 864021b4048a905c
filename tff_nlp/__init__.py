"""Private federated learning on text with TensorFlow Federated.

The names of `__all__` are the main interface: a corpus, its partition among clients, a classifier,
an algorithm, and training. Each name is imported when it is first used, so `import tff_nlp` is
fast.

Example:
  ```
  import tff_nlp

  corpus = tff_nlp.read_corpus("reviews.csv", text_column="text", label_column="label")
  train, test = tff_nlp.split_corpus(corpus)
  clients = tff_nlp.partition(train, "iid", num_clients=20)
  classifier = tff_nlp.build_classifier(train)
  process = tff_nlp.fed_avg(classifier.task, tff_nlp.LocalWork())
  trained = tff_nlp.train(process, classifier, train, clients, rounds=10, clients_per_round=5)
  print(trained.evaluate(test).accuracy)
  ```
"""

import importlib
from typing import Any

from tff_nlp import forked_children, protobuf_depth, silence_libraries, versions

silence_libraries.silence_start()
forked_children.spare_forked_children()
versions.check()
protobuf_depth.lift_limit()

_HOMES = {
    "ClientOptimizer": "learning.optimizers",
    "LocalWork": "learning.client_work",
    "Mechanism": "privacy.mechanism",
    "ServerOptimizer": "learning.optimizers",
    "UserError": "errors",
    "build_aggregator": "privacy.mechanism",
    "build_classifier": "runs.text_classifier",
    "build_language_model": "runs.text_generator",
    "fed_avg": "learning.algorithms.fed_avg",
    "fed_prox": "learning.algorithms.fed_prox",
    "mime_lite": "learning.algorithms.mime_lite",
    "partition": "runs.corpora",
    "read_corpus": "runs.corpora",
    "scaffold": "learning.algorithms.scaffold",
    "split_corpus": "runs.corpora",
    "train": "runs.train",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605 - it is a list, made from the names above.


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
