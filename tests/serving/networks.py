"""Small classifiers whose labels depend on the text, for tests of exports."""

import numpy as np

from tff_nlp.models import classifier, encoders, many_texts
from tff_nlp.serving import plain_bert

TEXTS = ("The cat sat on the mat!", "A good film, not bad.", "外卖很好吃，下次再来。") * 5
LABELS = ("schlecht", "gut", "好")
MAX_TOKENS = 12


def build(pooling="mean", pairs=False, width=32):
    """Returns a classifier, and weights that differ from its Keras variables."""
    encoder = encoders.random(
        TEXTS, layers=2, width=width, heads=2, vocabulary_size=120, max_tokens=16
    )
    model = classifier.build(encoder, len(LABELS), pooling=pooling, pairs=pairs)
    generator = np.random.default_rng(1)
    trainable, frozen = model.initial_weights()
    changed = [w + generator.normal(0, 0.3, w.shape).astype(np.float32) for w in trainable]
    changed[model.trainable_names.index("head/kernel")] *= 3
    # On average no label is more probable than another, so different texts get different labels.
    texts = [(text, TEXTS[0]) for text in TEXTS[:3]] if pairs else list(TEXTS[:3])
    means = np.log(probabilities(model, changed, frozen, texts)).mean(axis=0)
    changed[model.trainable_names.index("head/bias")] -= means
    return model, changed, frozen


def plain(model, trainable, frozen, pooling, strip_prefix=""):
    return plain_bert.of_classifier(
        model,
        trainable,
        frozen,
        pooling=pooling,
        label_names=LABELS,
        max_tokens=MAX_TOKENS,
        strip_prefix=strip_prefix,
    )


def probabilities(model, trainable, frozen, texts):
    """Returns KerasNLP's probabilities of the texts or pairs, float32[texts, labels]."""
    columns = many_texts.columns(texts, pairs=model.reads_pairs)
    flat, lengths = model.tokenizer.encode(columns[0], MAX_TOKENS, *columns[1:])
    ids = np.full([len(texts), MAX_TOKENS], model.tokenizer.pad_id, np.int32)
    mask = np.arange(MAX_TOKENS) < lengths[:, np.newaxis]
    ids[mask] = flat
    segments = model.tokenizer.segment_ids(ids) if model.reads_pairs else None
    logits = model.logits(trainable, frozen, ids, mask, seed=None, segment_ids=segments).numpy()
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)
