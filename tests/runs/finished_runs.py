"""Folders of finished central runs, without the training: their weights are noise."""

import json

import numpy as np

from tests.experiments.conftest import write_reviews
from tff_nlp.runs import configs, data, options, text_classifier


class Weights:
    """The weights of a learner, as a run exports them."""

    def __init__(self, trainable, non_trainable):
        self.trainable, self.non_trainable = trainable, non_trainable


def write(folder, *, task="classification", second="", **model):
    """Writes config.json, result.json and model/, and returns the learner and its weights."""
    folder.mkdir()
    corpus = write_reviews(folder.parent / f"{folder.name}.csv", rows=60)
    flags = configs.CorpusConfig(
        task=task,
        corpus=str(corpus),
        text_column="text",
        label_column="label",
        second_text_column=second,
    )
    settings = {
        "encoder": "random",
        "encoder_layers": 2,
        "encoder_width": 32,
        "vocabulary_size": 120,
        "max_tokens": 16,
        "dropout": 0.0,
    }
    chosen = configs.ModelConfig(**(settings | model)).resolved(task)
    central = configs.CentralConfig()
    texts = data.load_data(flags, central.seed)
    learner = text_classifier.build(
        texts.train, chosen, folder.parent / "cache", logit_adjustment=0.0, seed=central.seed
    )
    generator = np.random.default_rng(3)
    trainable, frozen = learner.model.initial_weights()
    changed = [w + generator.normal(0, 0.3, w.shape).astype(np.float32) for w in trainable]
    weights = Weights(changed, frozen)
    fingerprint = learner.export(weights, folder / "model")
    config = {**options.record(flags, central, chosen), **texts.fingerprints()}
    result = {
        "task": task,
        "rounds": 1,
        "test": {"accuracy": 0.5, "loss": 0.7, "examples": len(texts.test)},
        "tokens": {"train": {"texts": len(texts.train)}},
        "fingerprints": {"model": fingerprint},
        "config": config,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "result.json").write_text(json.dumps(result))
    return learner, weights
