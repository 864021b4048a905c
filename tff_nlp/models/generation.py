"""Texts that a causal language model writes: greedily, or by top-p sampling."""

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
      trainable: Arrays in the order of its `trainable_names`.
      frozen: Arrays in the order of its `frozen_names`.
      prompts: How the texts begin; an empty prompt begins a new text. Of a prompt that leaves no
        room for the new tokens, the last tokens are read.
      max_new_tokens: The most tokens to write for each prompt.
      top_p: 0 takes the most probable token at each place; else tokens are drawn, see `sample`.
      temperature: The logits are divided by it before a token is drawn.
      seed: What is drawn depends on it, on the place in the text, on the prompt's number and on
        `batch_size`.
      batch_size: Prompts at a time.

    Returns:
      What follows on each prompt, up to the end of the text if the model writes one.

    Raises:
      UserError: If a number is not possible.
    """
    check_max_new_tokens(max_new_tokens, model.max_tokens)
    check_sampling(top_p, temperature)
    # Tensors, so that other numbers are no other graph.
    settings = {
        "max_new_tokens": tf.constant(max_new_tokens),
        "top_p": tf.constant(top_p, tf.float32),
        "temperature": tf.constant(temperature, tf.float32),
    }
    weights = [[tf.convert_to_tensor(weight) for weight in part] for part in (trainable, frozen)]
    written: list[str] = []
    for start in range(0, len(prompts), batch_size):
        batch = tf.constant(as_bytes(prompts[start : start + batch_size]), tf.string)
        # The same seed as of an exported model.
        drawn = tf.constant(seeds.derive(seed, "generation", start), tf.int64)
        texts = _graph_of(model)(*weights, batch, seed=tf.bitcast(drawn, tf.int32), **settings)
        written += [text.decode("utf-8") for text in texts.numpy()]
    return written


# One model at a time: the graph holds on to it.
@functools.lru_cache(maxsize=1)
def _graph_of(model: CausalModel) -> Callable[..., tf.Tensor]:
    """Returns `continue_texts` of a model as a graph, which takes seconds to trace."""
    # There is nothing in it for AutoGraph, which would read the source of every layer.
    continued = functools.partial(continue_texts, model)
    return tf.function(continued, autograph=False, reduce_retracing=True)


def check_max_new_tokens(max_new_tokens: int, max_tokens: int) -> None:
    """Refuses a number of new tokens that a model cannot write.

    Raises:
      UserError: If it is less than 1, or leaves no room for a prompt.
    """
    if not 1 <= max_new_tokens < max_tokens:
        raise UserError(
            f"--max_new_tokens={max_new_tokens}: must be at least 1 and below the {max_tokens} "
            "tokens that the model reads"
        )


def check_sampling(top_p: float, temperature: float) -> None:
    """Refuses numbers that nothing can be drawn with.

    Raises:
      UserError: If `top_p` does not lie between 0 and 1, or the temperature is not above 0.
    """
    if not 0 <= top_p <= 1:
        raise UserError(f"--top_p={top_p}: must lie between 0 and 1")
    if not 0 < temperature < float("inf"):
        raise UserError(f"--temperature={temperature}: must be a number above 0")


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
      trainable: Tensors in the order of its `trainable_names`.
      frozen: Tensors in the order of its `frozen_names`.
      texts: string[batch], how the texts begin.
      max_new_tokens: int32[], at least 1 and below the model's longest input.
      top_p: float32[], 0 for the most probable token, see `sample`.
      temperature: float32[], above 0.
      seed: int32[2].

    Returns:
      string[batch], what follows on each text.
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

    All rows go on from the end of the shortest prompt; while a row is still within its own prompt,
    the prompt's token is taken instead of a new one.

    Args:
      model: The model.
      trainable: Tensors in the order of its `trainable_names`.
      frozen: Tensors in the order of its `frozen_names`.
      prompts: Ragged int32[batch, (tokens)], a token or more each.
      max_new_tokens: int32[]; with it the longest prompt must not pass the model's longest input.
      top_p: float32[], 0 for the most probable token, see `sample`.
      temperature: float32[], above 0.
      seed: int32[2].

    Returns:
      Ragged int32[batch, (tokens)]: the new tokens, up to and with the end of the text.
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
        # A table may have more rows than there are tokens.
        logits = logits[:, :pad_id]
        draw_seed = tf.stack([seed[0], seed[1] ^ place])
        drawn = tf.cond(
            top_p > 0,
            lambda: sample(logits, top_p, temperature, draw_seed),
            lambda: tf.argmax(logits, axis=-1, output_type=tf.int32),
        )
        # Nothing follows on the end of a text that is new.
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
    # All that the prompts share in length is read at once; its last token by the first step.
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
    """Draws tokens by nucleus sampling (Holtzman et al. 2020, section 3.1).

    The smallest set of most probable tokens that has a probability of `top_p` or more is kept, and
    one of them is drawn in proportion to its probability.

    Args:
      logits: float32[batch, vocabulary].
      top_p: float32[], above 0 and at most 1.
      temperature: float32[], the logits are divided by it.
      seed: int32[2].

    Returns:
      int32[batch].
    """
    probabilities = tf.nn.softmax(logits / temperature)
    ranked, ids = tf.math.top_k(probabilities, tf.shape(probabilities)[1])
    sums = tf.cumsum(ranked, axis=1)
    # What the tokens before have: below top_p, this token is still needed.
    kept = tf.where(tf.cumsum(ranked, axis=1, exclusive=True) < top_p, ranked, 0.0)
    total = tf.reduce_sum(kept, axis=1, keepdims=True)
    drawn = tf.random.stateless_uniform([tf.shape(logits)[0], 1], seed, alg="philox") * total
    # Rounding must not pass the last kept token.
    most = tf.math.count_nonzero(kept, axis=1, keepdims=True, dtype=tf.int32) - 1
    place = tf.reduce_sum(tf.cast(sums <= drawn, tf.int32), axis=1, keepdims=True)
    return tf.gather(ids, tf.minimum(place, most), batch_dims=1)[:, 0]


def _is_new(lengths: tf.Tensor, width: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Returns bool[batch, width]: behind the prompt, and before `place`."""
    places = tf.range(width)[tf.newaxis]
    return (places >= lengths[:, tf.newaxis]) & (places < place)


def _readable(ids: tf.Tensor, pad_id: int) -> tf.Tensor:
    """Returns ids with padding, which has no row in the table, as id 0."""
    return tf.where(ids == pad_id, 0, ids)
