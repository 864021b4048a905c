"""A Llama from a GGUF file computes what plain NumPy computes from the same file."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.models import llama_files
from tff_nlp.errors import UserError
from tff_nlp.models import causal, generation, llama, pretrained
from tff_nlp.models.adapters import adapter, folding, lora, names
from tff_nlp.models.encoders import computing_in

# Float32 against float64; logits of up to 10 after two layers.
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return llama_files.write(tmp_path_factory.mktemp("llama") / "tiny.gguf")


@pytest.fixture(scope="module")
def model(path):
    return causal.build(llama.load_gguf(path), trainable="top_1")


@pytest.fixture(scope="module")
def batch(model):
    ids, lengths = model.tokenizer.encode(["the cat sat", "2,102 cats", ""], 12)
    padded = tf.RaggedTensor.from_row_lengths(ids, lengths).to_tensor(model.tokenizer.pad_id)
    return padded.numpy(), padded.numpy() != model.tokenizer.pad_id


def test_logits_equal_numpys(path, model, batch):
    values, weights = llama_files.stored(path)
    ids, mask = batch
    found = model.logits(*model.initial_weights(), ids, mask, seed=None).numpy()
    for row, real, computed in zip(ids, mask, found, strict=True):
        expected = llama_files.logits(values, weights, row[real].tolist())
        np.testing.assert_allclose(computed[real], expected, atol=ROUNDING)
        assert np.abs(expected).max() > 1


def test_a_cache_gives_the_same_logits(model, batch):
    ids, mask = batch
    ids = np.where(mask, ids, 0)
    weights = model.initial_weights()
    expected = model.logits(*weights, ids, np.ones_like(mask), seed=None).numpy()
    cache = model.empty_cache(len(ids), ids.shape[1])
    assert cache.shape == (3, 2, 2, ids.shape[1], llama_files.PAIRS, llama_files.SIZE)
    found = []
    for begin, end in ((0, 3), (3, 4), (4, ids.shape[1])):
        part, cache = model.logits_with_cache(*weights, ids[:, begin:end], cache, begin)
        found.append(part)
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=ROUNDING)


@pytest.mark.thorough
def test_greedy_text_equals_numpys(path, model):
    values, weights = llama_files.stored(path)
    prompt = "the cat"
    ids = model.tokenizer.encode_prompts(tf.constant([prompt]), 10).to_list()[0]
    end = model.tokenizer.end_id
    for _ in range(8):
        ids.append(int(llama_files.logits(values, weights, ids)[-1].argmax()))
        if ids[-1] == end:
            break
    (found,) = generation.generate(model, *model.initial_weights(), [prompt], max_new_tokens=8)
    assert prompt + found == model.tokenizer.decode(ids)


@pytest.mark.thorough
def test_the_network_works_in_plain_graphs(model, batch):
    """TFF builds graphs outside of tf.function. They cannot capture eager tensors."""
    ids, mask = batch
    weights = model.initial_weights()
    expected = model.logits(*weights, ids, mask, seed=None)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        found = session.run(model.logits(*weights, ids, mask, seed=[1, 2]))
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_the_table_is_tied(path):
    decoder = llama.load_gguf(path)
    model = causal.build(decoder)
    assert model.trainable_parameters == sum(map(np.prod, llama_files.shapes().values()))
    weights, frozen = model.initial_weights()
    assert not frozen
    assert model.max_tokens == 20
    assert model.vocabulary_size == len(llama_files.TOKENS)
    table = model.trainable_names.index("token_embedding/embeddings")
    weights[table] = np.zeros_like(weights[table])
    ids = np.array([[1, 2, 3]])
    found = model.logits(weights, frozen, ids, np.ones_like(ids, bool), seed=None).numpy()
    assert (found == 0).all()


def test_trainable_selections(path, model):
    parts = {name.partition("/")[0] for name in model.trainable_names}
    assert parts == {"transformer_layer_1", "sequence_output_layernorm"}
    rest = causal.build(llama.load_gguf(path), trainable="no_embeddings")
    assert rest.frozen_names == ("token_embedding/embeddings",)
    with pytest.raises(UserError, match=r"trainable=biases: .*tiny\.gguf has no such weights"):
        causal.build(llama.load_gguf(path), trainable="biases")


def test_names_of_decoders(path, monkeypatch):
    assert pretrained.load_decoder(str(path)).name == str(path)
    with pytest.raises(UserError, match="encoder=smollm2: is a language model"):
        pretrained.load_encoder("smollm2")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UserError, match="encoder=smollm2: .*; EXTRAS=smollm2 scripts/setup"):
        pretrained.load_decoder("smollm2")


def test_half_precision_is_refused(path):
    with (
        computing_in("bfloat16"),
        pytest.raises(UserError, match="compute_dtype=bfloat16: a language model computes in"),
    ):
        llama.load_gguf(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"general.architecture": "qwen2"}, "has the architecture 'qwen2'; only 'llama'"),
        ({"llama.block_count": 0}, "has llama.block_count 0; it must be a positive integer"),
        ({"llama.block_count": None}, "has no value llama.block_count"),
        ({"llama.block_count": 3}, r"tensor blk\.2\.\w+\.weight is missing"),
        ({"llama.block_count": 1}, r"tensor blk\.1\.\w+\.weight has no place in a Llama"),
        ({"llama.embedding_length": 32}, "do not fit: .*|rotates 16 of the 8"),
        ({"llama.attention.head_count": 3}, "sizes do not fit: 6 does not divide 64"),
        ({"llama.attention.head_count_kv": 3}, "sizes do not fit: 3 does not divide 4"),
        ({"llama.attention.head_count_kv": 4}, r"attn_k\.weight has shape \[32, 64\]"),
        ({"llama.feed_forward_length": 10**9}, r"shape \[96, 64\], its sizes say \[1000000000"),
        ({"llama.rope.dimension_count": 8}, "rotates 8 of the 16 numbers of a head"),
        ({"llama.rope.freq_base": 7}, "llama.rope.freq_base is not of the type float"),
        ({"tokenizer.ggml.model": "llama"}, "has the tokenizer 'llama' and splits texts by"),
        ({"tokenizer.ggml.pre": "qwen2"}, "splits texts by 'qwen2'; it must be 'gpt2' and 'gpt-2'"),
        ({"tokenizer.ggml.tokens": [1, 2]}, "its tokens and merges are not strings"),
        ({"tokenizer.ggml.tokens": ["a", "b", "a"]}, "a token occurs twice"),
        ({"tokenizer.ggml.tokens": ["a"]}, r"ggml\.tokens lacks the token '<|endoftext|>'"),
        ({"tokenizer.ggml.merges": ["t h", "th x"]}, r"ggml\.merges, line 2: 'th x' needs 'thx'"),
    ],
)
def test_files_that_do_not_fit(tmp_path, values, message):
    path = llama_files.write(tmp_path / "other.gguf", llama_files.VALUES | values)
    with pytest.raises(UserError, match=message) as error:
        llama.load_gguf(path, name="mine")
    assert str(error.value).startswith("encoder=mine: other.gguf")
    assert "\n" not in str(error.value)


def test_an_output_table_of_its_own_is_refused(tmp_path):
    weights = llama_files.tensors()
    weights["output.weight"] = weights["token_embd.weight"] * 2
    path = llama_files.write(tmp_path / "untied.gguf", weights=weights)
    with pytest.raises(UserError, match=r"tensor output\.weight has no place in a Llama with a"):
        llama.load_gguf(path)


@pytest.mark.thorough
def test_low_rank_factors_in_a_llama(path, batch):
    """Factors change the matrices as in GPT-2; bottlenecks have no place in a Llama's layers."""
    ids, mask = batch
    options = lora.Lora(rank=2, matrices=("query", "value", "feedforward_gate"))
    chosen = adapter.Adapter(names.LORA, low_rank=options)
    adapted = causal.build(llama.load_gguf(path), trainable="adapter", adapter=chosen)
    plain = causal.build(llama.load_gguf(path))
    trainable, frozen = adapted.initial_weights()
    trainable = [value + 0.1 for value in trainable]
    folded, *weights = folding.fold(adapted, trainable, frozen)
    assert (folded.trainable_names, len(folded.frozen_names)) == ((), len(plain.trainable_names))
    by_name = dict(zip(folded.frozen_names, weights[1], strict=True))
    renamed = {
        name.replace("/query/query/", "/query/").replace("/value/value/", "/value/"): value
        for name, value in by_name.items()
    }
    gate = "/feedforward_gate_dense/feedforward_gate_dense/"
    renamed = {name.replace(gate, "/feedforward_gate_dense/"): v for name, v in renamed.items()}
    changed = [renamed[name] for name in plain.trainable_names]
    expected = plain.logits(changed, [], ids, mask, seed=None).numpy()[mask]
    for model_, arrays in ((adapted, (trainable, frozen)), (folded, weights)):
        found = model_.logits(*arrays, ids, mask, seed=None).numpy()[mask]
        np.testing.assert_allclose(found, expected, atol=ROUNDING)
    with pytest.raises(UserError, match="adapter=houlsby: this network has no place for it"):
        causal.build(
            llama.load_gguf(path), trainable="adapter", adapter=adapter.Adapter(names.HOULSBY)
        )
