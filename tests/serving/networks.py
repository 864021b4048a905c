"""Small classifiers whose labels depend on the text, for tests of exports."""

import numpy as np

from tff_nlp.models import classifier, encoders
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
    """Returns KerasNLP's probabilities of each text or pair alone, float32[texts, labels]."""
    rows = []
    for text in texts:
        first, *second = [text] if isinstance(text, str) else text
        ids, _ = model.tokenizer.encode([first], MAX_TOKENS, [second[0]] if second else None)
        ids = ids[np.newaxis]
        segments = model.tokenizer.segment_ids(ids) if second else None
        logits = model.logits(
            trainable, frozen, ids, np.ones_like(ids, bool), seed=None, segment_ids=segments
        )
        shares = np.exp(logits.numpy()[0] - logits.numpy().max())
        rows.append(shares / shares.sum())
    return np.array(rows)
