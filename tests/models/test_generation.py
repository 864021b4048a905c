"""Generation equals a loop over full logits, and top-p sampling follows its definition."""

import numpy as np
import pytest
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.models import causal, decoders, generation

PROMPTS = ["The cat", "", "bad bad food, never again and again", "外卖"]
ROOM = 24


@pytest.fixture(scope="module")
def model(texts):
    decoder = decoders.random(
        texts, layers=2, width=32, heads=2, vocabulary_size=280, max_tokens=ROOM
    )
    return causal.build(decoder, trainable="top_1")


@pytest.fixture(scope="module")
def weights(model):
    """Large random weights, so that the most probable token changes between positions."""
    generator = np.random.default_rng(1)
    return tuple(
        [w + generator.normal(0, 0.3, w.shape).astype(np.float32) for w in part]
        for part in model.initial_weights()
    )


@pytest.fixture(scope="module")
def full_logits(model):
    """Returns the whole model on padded texts as a graph, traced once."""

    @tf.function(autograph=False)
    def logits(trainable, frozen, ids, mask):
        return model.logits(trainable, frozen, ids, mask, seed=None)

    return logits


def by_hand(full_logits, model, weights, prompt, max_new_tokens):
    """Takes the most probable token of the whole model repeatedly."""
    tokenizer = model.tokenizer
    ids = [tokenizer.end_id, *tokenizer.pieces(tf.constant([prompt])).to_list()[0]]
    ids = ids[-(ROOM - max_new_tokens) :]
    new = []
    while len(new) < max_new_tokens and tokenizer.end_id not in new:
        row = np.full([1, ROOM], tokenizer.pad_id, np.int32)
        row[0, : len(ids + new)] = ids + new
        logits = full_logits(*weights, row, row != tokenizer.pad_id)
        new.append(int(tf.argmax(logits[0, len(ids + new) - 1])))
    return new


@pytest.mark.thorough
@pytest.mark.parametrize("max_new_tokens", [1, 20])
def test_greedy_equals_the_full_model(full_logits, model, weights, max_new_tokens):
    found = generation.generate(
        model, *weights, PROMPTS, max_new_tokens=max_new_tokens, batch_size=2
    )
    new = [by_hand(full_logits, model, weights, prompt, max_new_tokens) for prompt in PROMPTS]
    assert found == [model.tokenizer.decode(ids) for ids in new]
    assert len({tuple(ids) for ids in new}) > 1


@pytest.mark.thorough
def test_ends_of_texts(full_logits, model, weights):
    """The end of a text is likely in this table, so rows end at different positions."""
    trainable, frozen = weights
    table = model.frozen_names.index("token_embedding/embeddings")
    changed = list(frozen)
    changed[table] = frozen[table].copy()
    changed[table][model.tokenizer.end_id] *= 3
    prompts = [f"{word} {number}" for word in ("cat", "food", "movie") for number in range(5)]
    changed = (trainable, changed)
    new = [by_hand(full_logits, model, changed, prompt, 12) for prompt in prompts]
    lengths = [len(ids) for ids in new]
    assert min(lengths) < max(lengths)
    assert any(ids[-1] == model.tokenizer.end_id for ids in new)
    prompt_ids = model.tokenizer.encode_prompts(tf.constant(prompts), ROOM - 12)
    found = generation.continue_ids(
        model,
        *changed,
        prompt_ids,
        max_new_tokens=tf.constant(12),
        top_p=tf.constant(0.0),
        temperature=tf.constant(1.0),
        seed=tf.constant([0, 0]),
    )
    assert found.to_list() == new


@pytest.mark.slow
def test_sampling_follows_its_seed(model, weights):
    def draw(**arguments):
        settings = {"max_new_tokens": 12, "top_p": 0.95, "seed": 1} | arguments
        return generation.generate(model, *weights, PROMPTS, **settings)

    assert draw() == draw()
    assert draw() != draw(seed=2)
    greedy = generation.generate(model, *weights, PROMPTS, max_new_tokens=12)
    assert draw() != greedy
    # Such a small top_p keeps only one token, and so does such a low temperature.
    assert draw(top_p=1e-6) == greedy
    assert draw(temperature=1e-6) == greedy
    assert generation.generate(model, *weights, [], max_new_tokens=3) == []


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.35, 1), (0.45, 2), (0.65, 2), (0.75, 3), (0.999, 5), (1.0, 5)],
)
def test_top_p_keeps_the_smallest_sufficient_set(top_p, kept):
    """Holtzman et al. 2020: the smallest set of most probable tokens with a probability of p."""
    shares = np.array([0.05, 0.4, 0.1, 0.3, 0.15])
    likeliest = np.argsort(-shares)[:kept]
    expected = np.zeros(5)
    expected[likeliest] = shares[likeliest] / shares[likeliest].sum()
    draws = 20_000
    logits = tf.tile(tf.constant(np.log(shares), tf.float32)[tf.newaxis], [draws, 1])
    drawn = generation.sample(logits, top_p, 1.0, tf.constant([3, 4])).numpy()
    found = np.bincount(drawn, minlength=5) / draws
    assert (found[expected == 0] == 0).all()
    # Six standard errors; the seed is fixed.
    assert (np.abs(found - expected) <= 6 * np.sqrt(expected * (1 - expected) / draws)).all()


def test_temperature_flattens():
    shares = np.array([0.6, 0.3, 0.1])
    draws = 20_000
    logits = tf.tile(tf.constant(np.log(shares), tf.float32)[tf.newaxis], [draws, 1])
    drawn = generation.sample(logits, 1.0, 2.0, tf.constant([5, 6])).numpy()
    expected = np.sqrt(shares) / np.sqrt(shares).sum()
    found = np.bincount(drawn, minlength=3) / draws
    assert (np.abs(found - expected) <= 6 * np.sqrt(expected * (1 - expected) / draws)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens=0: must be at least 1 and below the 24"),
        ({"max_new_tokens": 24}, "max_new_tokens=24"),
        ({"top_p": 1.1}, "top_p=1.1"),
        ({"top_p": -0.1}, "top_p=-0.1"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": float("nan")}, "temperature=nan"),
    ],
)
def test_impossible_numbers(model, weights, arguments, message):
    with pytest.raises(UserError, match=message):
        generation.generate(model, *weights, ["x"], **({"max_new_tokens": 3} | arguments))
