"""A student: a classifier with fewer layers that learns from a run's classifier.

It starts with some of the teacher's layers, evenly spaced, and with its tables and head (Sanh et
al. 2019, "DistilBERT", section 2), and minimises KL(teacher || student) on texts without labels.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import seeds
from tff_nlp.corpora import load
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import RunError
from tff_nlp.learning import distillation, optimizers
from tff_nlp.models import classifier, encoders
from tff_nlp.program import progress
from tff_nlp.runs import (
    checks,
    data,
    distilling,
    reporter,
    saved_run,
    text_classifier,
    user_folders,
)
from tff_nlp.runs.configs.export import Export, StudentConfig
from tff_nlp.runs.learner import TokenStore
from tff_nlp.runs.trained_model import TrainedModel
from tff_nlp.tasks import classification, pairs
from tff_nlp.tasks import task as tasks

_LAYER = re.compile(r"transformer_layer_(\d+)/")


def texts(config: Export) -> Corpus:
    """Returns the texts that the student learns from. Their labels are not used.

    Raises:
      UserError: If a file or a row is wrong, or the training texts of the run have changed.
    """
    if not config.student.distill_corpus:
        return saved_run.load(pathlib.Path(config.what.run), config.what.cache_dir).texts.train
    source = CorpusSource(
        path=config.student.distill_corpus,
        labelled=False,
        data_dir=str(user_folders.cache_dir(config.what.cache_dir)),
        flag_prefix="distill_",
        **data.reading(config.reading),
    )
    loaded = load.load_corpus(source)
    reporter.say("texts", loaded.report.lines())
    return loaded.corpus


def distil(
    teacher: TrainedModel, corpus: Corpus, config: StudentConfig, cache_dir: pathlib.Path
) -> TrainedModel:
    """Returns a trained student.

    Args:
      teacher: The run's classifier.
      corpus: Texts, or pairs of texts if the teacher reads pairs.
      config: The student's layers and how it learns.
      cache_dir: Folder of the token caches.

    Raises:
      UserError: If the student would not be smaller, or the texts are pairs and the teacher reads
        single texts, or the opposite.
      RunError: If training diverges.
    """
    model, weights = _initial(teacher, config.student_layers or 0)
    make_task = pairs.pairs if model.reads_pairs else classification.classification
    learner = text_classifier.TextClassifier(
        model=model,
        task=make_task(model),
        label_names=teacher.label_names,
        config=teacher.config,
        store=TokenStore(
            model.tokenizer, teacher.config.max_tokens, cache_dir, pairs=model.reads_pairs
        ),
    )
    public = distilling.in_batches(
        learner, corpus, batch_size=config.distill_batch_size, seed=teacher.seed
    )
    reporter.say("student", [f"learns from {len(corpus):,} texts, {config.distill_epochs} times"])
    learning = distillation.Distillation(
        optimizers.ClientOptimizer("adamw", learning_rate=config.distill_learning_rate),
        config.distill_epochs,
    )
    count = len(public.batches)
    shown = progress.Progress(count * (1 + config.distill_epochs), 0, "batch")
    of_teacher = _showing(make_task(teacher.model), shown)
    of_student = _showing(learner.task, shown)
    begun = [weights[name] for name in model.trainable_names]

    @tf.function
    def learn() -> tuple:
        logits = distillation.logits(of_teacher, teacher.trainable, teacher.frozen, public)
        return distillation.distil(
            of_student,
            learning,
            [tf.constant(value) for value in begun],
            (),
            public,
            tf.nn.softmax(logits),
            round_seed=tf.constant(seeds.pair(teacher.seed, "student", 0), tf.int32),
        )

    with shown:
        trained, loss = learn()
    values = [value.numpy() for value in trained]
    if all(np.array_equal(*both) for both in zip(values, begun, strict=True)):
        raise RunError("the student diverged; lower `distill_learning_rate`")
    reporter.say("student", [f"mean KL(teacher || student) {float(loss):.4f} nats"])
    return dataclasses.replace(teacher, model=model, trainable=values, frozen=[])


def _showing(task: tasks.Task, shown: progress.Progress) -> tasks.Task:
    """Returns the task; each batch that it reads is shown."""

    def predict(*arguments: Any) -> Any:
        output = task.predict(*arguments)
        with tf.control_dependencies([tf.py_function(lambda: shown.advance({}), [], [])]):
            return tf.identity(output)

    return dataclasses.replace(task, predict=predict)


def _initial(
    teacher: TrainedModel, layers: int
) -> tuple[classifier.Classifier, Mapping[str, np.ndarray]]:
    """Returns the student, all of which trains, and its initial weights by name."""
    bert = teacher.plain()
    if layers >= bert.layers:
        checks.refuse("student_layers", layers, f"must be below {bert.layers}, the run's own")
    given = teacher.weights()
    rows = {name: table.shape[0] for name, table in given.items() if table.ndim == 2}
    feed_forward = given["transformer_layer_0/feedforward_intermediate_dense/bias"]
    backbone = encoders.build_backbone(
        gelu=bert.gelu,
        layer_norm_epsilon=bert.epsilon,
        vocabulary_size=rows["token_embedding/embeddings"],
        num_layers=layers,
        num_heads=bert.heads,
        hidden_dim=bert.width,
        intermediate_dim=len(feed_forward),
        max_sequence_length=rows["position_embedding/position_embeddings"],
        num_segments=rows["segment_embedding/embeddings"],
    )
    encoder = encoders.Encoder("student", backbone, bert.tokenizer, pretrained=False)
    model = classifier.build(
        encoder,
        len(teacher.label_names),
        pooling=teacher.config.pooling,
        dropout=teacher.config.dropout,
        encoder_dropout=teacher.config.encoder_dropout,
        pairs=bert.reads_pairs,
    )
    kept = np.rint(np.linspace(0, bert.layers - 1, layers)).astype(int)

    def origin(name: str) -> str:
        return _LAYER.sub(lambda found: f"transformer_layer_{kept[int(found[1])]}/", name)

    return model, {name: given[origin(name)] for name in model.trainable_names}
