"""experiments/serve.py with made-up models, which start at once: run it with the script's flags.

The folder of such a model has a file saved_model.pb with JSON: `labels`, `seconds` of each batch,
and `broken`, which makes it fail.
"""

import json
import sys
import time
import types

import numpy as np

from tff_nlp.errors import UserError


class FakeModel:
    """The probability of the first label says how long a text is."""

    max_tokens = 64

    def __init__(self, labels=("bad", "good"), seconds=0.0, pairs=False, most=8):
        self.label_names = tuple(labels)
        self.reads_pairs = pairs
        self.seconds = seconds
        self.most = most
        self.batches = []

    def predict(self, texts, batch_size=64):
        self.batches.append(len(texts))
        time.sleep(self.seconds)
        assert len(texts) <= self.most
        first = np.array([first_probability(text) for text in texts], np.float32)
        others = len(self.label_names) - 1
        rest = np.repeat((1 - first)[:, None] / others, others, axis=1)
        return types.SimpleNamespace(probabilities=np.column_stack([first, rest]))


def first_probability(text):
    return (sum(map(len, text)) % 1000) / 1000


def loader(workers):
    def load(spec):
        values = json.loads((spec.folder / "saved_model.pb").read_text())
        if values.pop("broken", False):
            raise UserError("`run`: cannot load the saved model: made up")
        time.sleep(values.pop("load_seconds", 0))
        return FakeModel(**values, most=serve.FLAGS.max_batch)

    return load


def write_model(folder, **values):
    folder.mkdir(exist_ok=True)
    (folder / "saved_model.pb").write_text(json.dumps(values))
    return folder


if __name__ == "__main__":
    fake = types.ModuleType("tff_nlp.serving.service.model_loading")
    fake.loader = loader
    sys.modules[fake.__name__] = fake

    from experiments import serve
    from experiments.command_line import entry

    entry.run(serve.main, serve.FLAGS, groups=serve.GROUPS)
