"""Generates texts with a causal language model: greedily, or by top-p sampling."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tff_nlp import seeds
from tff_nlp.errors import UserError
from tff_nlp.models.causal import CausalModel
from tff_nlp.models.vocabulary import as_bytes


def generate(
    model: CausalModel,
    trainable: Sequence[Any],
    frozen: Sequence[Any],
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    top_p: float = 0.0,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 16,
) -> list[str]:
    """Continues texts.

    Args:
      model: The model.
      trainable: Arrays in the order of the model's `trainable_names`.
      frozen: Arrays in the order of the model's `frozen_names`.
      prompts: Beginnings of the texts. An empty prompt starts a new text. If a prompt leaves no
        room for the new tokens, only its last tokens are read.
      max_new_tokens: Maximum number of new tokens per prompt.
      top_p: Probability mass of top-p sampling, see `sample`. 0 takes the most probable token at
        each position.
      temperature: The logits are divided by it before a token is drawn.
      seed: Seed of the draws. They also depend on the position in the text, the prompt's number and
        `batch_size`.
      batch_size: Number of prompts at a time.

    Returns:
      The continuation of each prompt. It stops at the end of the text if the model predicts it.

    Raises:
      UserError: If a number is not possible.
    """
    check_max_new_tokens(max_new_tokens, model.max_tokens)
    check_sampling(top_p, temperature)
    # Tensors, so that other numbers do not need another graph.
    settings = {
        "max_new_tokens": tf.constant(max_new_tokens),
        "top_p": tf.constant(top_p, tf.float32),
        "temperature": tf.constant(temperature, tf.float32),
    }
    weights = [[tf.convert_to_tensor(weight) for weight in part] for part in (trainable, frozen)]
    written: list[str] = []
    for start in range(0, len(prompts), batch_size):
        batch = tf.constant(as_bytes(prompts[start : start + batch_size]), tf.string)
        # An exported model derives its seed in the same way.
        drawn = tf.constant(seeds.derive(seed, "generation", start), tf.int64)
        texts = _graph_of(model)(*weights, batch, seed=tf.bitcast(drawn, tf.int32), **settings)
        written += [text.decode("utf-8") for text in texts.numpy()]
    return written


# Only one model, because the graph keeps its model in memory.
@functools.lru_cache(maxsize=1)
def _graph_of(model: CausalModel) -> Callable[..., tf.Tensor]:
    """Returns `continue_texts` of a model as a graph. Tracing takes seconds, so it is cached."""
    # AutoGraph is not needed here, and it would parse the source of every layer.
    continued = functools.partial(continue_texts, model)
    return tf.function(continued, autograph=False, reduce_retracing=True)


def check_max_new_tokens(max_new_tokens: int, max_tokens: int) -> None:
    """Checks a maximum number of new tokens.

    Args:
      max_new_tokens: Maximum number of new tokens.
      max_tokens: Maximum number of tokens that the model reads.

    Raises:
      UserError: If it is less than 1, or if it leaves no room for a prompt.
    """
    if not 1 <= max_new_tokens < max_tokens:
        raise UserError(
            f"`max_new_tokens`={max_new_tokens}: must be at least 1 and below the {max_tokens} "
            "tokens that the model reads"
        )


def check_sampling(top_p: float, temperature: float) -> None:
    """Checks the settings of sampling.

    Raises:
      UserError: If `top_p` is not between 0 and 1, or if the temperature is not above 0 and finite.
    """
    if not 0 <= top_p <= 1:
        raise UserError(f"`top_p`={top_p}: must lie between 0 and 1")
    if not 0 < temperature < float("inf"):
        raise UserError(f"`temperature`={temperature}: must be a number above 0")


def continue_texts(
    model: CausalModel,
    trainable: Sequence[tf.Tensor],
    frozen: Sequence[tf.Tensor],
    texts: tf.Tensor,
    *,
    max_new_tokens: tf.Tensor,
    top_p: tf.Tensor,
    temperature: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Continues texts inside TensorFlow, in a graph.

    Args:
      model: The model.
      trainable: Tensors in the order of the model's `trainable_names`.
      frozen: Tensors in the order of the model's `frozen_names`.
      texts: Beginnings of the texts, string[batch].
      max_new_tokens: Maximum number of new tokens, int32[]; at least 1 and below the model's
        `max_tokens`.
      top_p: Probability mass of top-p sampling, float32[], see `sample`. 0 takes the most probable
        token.
      temperature: Divisor of the logits, float32[], above 0.
      seed: Seed of the draws, int32[2].

    Returns:
      The continuation of each text, string[batch].
    """
    tokenizer = model.tokenizer
    prompts = tokenizer.encode_prompts(texts, model.max_tokens - max_new_tokens)
    new_ids = continue_ids(
        model,
        trainable,
        frozen,
        prompts,
        max_new_tokens=max_new_tokens,
        top_p=top_p,
        temperature=temperature,
        seed=seed,
    )
    return tokenizer.decode_tensor(new_ids)


def continue_ids(
    model: CausalModel,
    trainable: Sequence[tf.Tensor],
    frozen: Sequence[tf.Tensor],
    prompts: tf.RaggedTensor,
    *,
    max_new_tokens: tf.Tensor,
    top_p: tf.Tensor,
    temperature: tf.Tensor,
    seed: tf.Tensor,
) -> tf.RaggedTensor:
    """Continues token ids, one token at a time, with a cache of keys and values.

    All rows start at the end of the shortest prompt. Inside a longer prompt, the prompt's token is
    taken instead of a new one.

    Args:
      model: The model.
      trainable: Tensors in the order of the model's `trainable_names`.
      frozen: Tensors in the order of the model's `frozen_names`.
      prompts: Ragged int32[batch, (tokens)], with at least one token per row.
      max_new_tokens: Maximum number of new tokens, int32[]. The longest prompt and the new tokens
        together must not exceed the model's `max_tokens`.
      top_p: Probability mass of top-p sampling, float32[], see `sample`. 0 takes the most probable
        token.
      temperature: Divisor of the logits, float32[], above 0.
      seed: Seed of the draws, int32[2].

    Returns:
      Ragged int32[batch, (tokens)]: the new tokens, up to and including the end of the text.
    """
    pad_id, end_id = model.tokenizer.pad_id, model.tokenizer.end_id
    lengths = tf.cast(prompts.row_lengths(), tf.int32)
    ends = lengths + max_new_tokens
    width = tf.reduce_max(tf.concat([ends, [0]], axis=0))
    batch = tf.size(lengths)
    begun = prompts.to_tensor(pad_id)
    ids = tf.concat([begun, tf.fill([batch, width - tf.shape(begun)[1]], pad_id)], axis=1)
    first = tf.reduce_min(tf.concat([lengths, [width]], axis=0))

    def next_ids(logits: tf.Tensor, ids: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Returns ids with the token at `place`, given float32[batch, vocabulary] logits."""
        # The table may have more rows than the vocabulary has tokens.
        logits = logits[:, :pad_id]
        draw_seed = tf.stack([seed[0], seed[1] ^ place])
        drawn = tf.cond(
            top_p > 0,
            lambda: sample(logits, top_p, temperature, draw_seed),
            lambda: tf.argmax(logits, axis=-1, output_type=tf.int32),
        )
        # After a new end of a text, the row is finished.
        over = tf.reduce_any((ids == end_id) & _is_new(lengths, width, place), axis=1)
        drawn = tf.where(over | (place >= ends), pad_id, drawn)
        here = tf.where(place < lengths, ids[:, place], drawn)
        return tf.concat([ids[:, :place], here[:, tf.newaxis], ids[:, place + 1 :]], axis=1)

    def goes_on(place: tf.Tensor, ids: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        over = tf.reduce_any((ids == end_id) & _is_new(lengths, width, place), axis=1)
        return (place < width) & ~tf.reduce_all(over | (place >= ends))

    def step(
        place: tf.Tensor, ids: tf.Tensor, cache: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        last = _readable(ids[:, place - 1 : place], pad_id)
        logits, cache = model.logits_with_cache(trainable, frozen, last, cache, place - 1)
        return place + 1, next_ids(logits[:, -1], ids, place), cache

    cache = model.empty_cache(batch, width)
    # Read the length that all prompts share at once. The first step reads its last token again.
    _, cache = model.logits_with_cache(
        trainable, frozen, _readable(ids[:, :first], pad_id), cache, tf.constant(0)
    )
    _, ids, _ = tf.while_loop(
        goes_on,
        step,
        (first, ids, cache),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([None, None]),
            tf.TensorShape([None, *cache.shape[1:3], None, *cache.shape[4:]]),
        ),
    )
    new = _is_new(lengths, width, width) & (ids != pad_id)
    return tf.ragged.boolean_mask(ids, new)


def sample(
    logits: tf.Tensor, top_p: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Draws tokens by top-p (nucleus) sampling (Holtzman et al. 2020, section 3.1).

    The most probable tokens are kept: the smallest set with a total probability of at least
    `top_p`. One of them is drawn in proportion to its probability.

    Args:
      logits: float32[batch, vocabulary].
      top_p: Total probability of the kept tokens, float32[], above 0 and at most 1.
      temperature: Divisor of the logits, float32[].
      seed: Seed of the draw, int32[2].

    Returns:
      The drawn token ids, int32[batch].
    """
    probabilities = tf.nn.softmax(logits / temperature)
    ranked, ids = tf.math.top_k(probabilities, tf.shape(probabilities)[1])
    sums = tf.cumsum(ranked, axis=1)
    # A token is kept if the total probability of the tokens before it is below top_p.
    kept = tf.where(tf.cumsum(ranked, axis=1, exclusive=True) < top_p, ranked, 0.0)
    total = tf.reduce_sum(kept, axis=1, keepdims=True)
    drawn = tf.random.stateless_uniform([tf.shape(logits)[0], 1], seed, alg="philox") * total
    # Rounding errors must not select a token after the last kept one.
    most = tf.math.count_nonzero(kept, axis=1, keepdims=True, dtype=tf.int32) - 1
    place = tf.reduce_sum(tf.cast(sums <= drawn, tf.int32), axis=1, keepdims=True)
    return tf.gather(ids, tf.minimum(place, most), batch_dims=1)[:, 0]


def _is_new(lengths: tf.Tensor, width: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Returns bool[batch, width]: true for positions after the prompt and before `place`."""
    places = tf.range(width)[tf.newaxis]
    return (places >= lengths[:, tf.newaxis]) & (places < place)


def _readable(ids: tf.Tensor, pad_id: int) -> tf.Tensor:
    """Returns the ids with padding replaced by id 0, because padding has no row in the table."""
    return tf.where(ids == pad_id, 0, ids)
