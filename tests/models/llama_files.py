"""A small Llama in a GGUF file, and what a GGUF file's Llama computes, in plain NumPy."""

import gguf
import numpy as np

from tff_nlp.models.byte_pair_vocabulary import BYTE_CHARACTERS, END_OF_TEXT

MERGES = ("t h", "th e", "Ġ t", "Ġ the", "c a", "ca t")
# As in SmolLM2's own vocabulary, bytes that hardly occur are missing.
MISSING = (0x04, 0xC0, 0xFF)
TOKENS = (
    END_OF_TEXT,
    "<|im_start|>",
    *(character for byte, character in enumerate(BYTE_CHARACTERS) if byte not in MISSING),
    *(merge.replace(" ", "") for merge in MERGES),
)
LAYERS, WIDTH, HEADS, PAIRS, INNER = 2, 64, 4, 2, 96
SIZE = WIDTH // HEADS
VALUES = {
    "general.architecture": "llama",
    "llama.block_count": LAYERS,
    "llama.context_length": 20,
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": INNER,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": PAIRS,
    "llama.attention.layer_norm_rms_epsilon": 1e-3,
    "llama.rope.freq_base": 300.0,
    "llama.rope.dimension_count": SIZE,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": list(TOKENS),
    "tokenizer.ggml.merges": list(MERGES),
}
Q4_1, Q8_0 = gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0


def shapes():
    """Names and shapes of the tensors; kernels are [out, in]."""
    found = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    for index in range(LAYERS):
        layer = {
            "attn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (PAIRS * SIZE, WIDTH),
            "attn_v": (PAIRS * SIZE, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_norm": (WIDTH,),
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }
        found |= {f"blk.{index}.{part}": shape for part, shape in layer.items()}
    return {f"{name}.weight": shape for name, shape in found.items()}


def tensors():
    """Random weights, float32."""
    generator = np.random.default_rng(3)
    made = {}
    for name, shape in shapes().items():
        value = generator.standard_normal(shape) * (0.3 if len(shape) == 2 else 0.1)
        made[name] = (value + ("norm" in name)).astype(np.float32)
    return made


def kind_of(name):
    """The kind of a tensor, as in SmolLM2's file: None for float32."""
    if "norm" in name:
        return None
    return Q8_0 if name == "token_embd.weight" else Q4_1


def write(path, values=VALUES, weights=None, kinds=kind_of):
    """Writes a GGUF file. A value or a tensor of None is left out."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in values.items():
        if key == "general.architecture":
            writer.kv_data[0][key].value = value
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif value is not None:
            add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}
            add[type(value)](key, value)
    for name, value in (weights or tensors()).items():
        kind = kinds(name)
        if kind is None:
            writer.add_tensor(name, value)
        else:
            writer.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def dequantized(raw, kind):
    """Returns float64[rows, columns] for the bytes of a tensor, by the definition of its kind.

    A block has 32 numbers. Q8_0: a scale and 32 signed bytes. Q4_1: a scale, a minimum, and 16
    bytes: number i is the lower half of byte i, number 16 + i is its upper half.
    """
    blocks = raw.reshape(len(raw), -1, 34 if kind == Q8_0 else 20)
    scale = blocks[..., :2].copy().view(np.float16).astype(np.float64)
    if kind == Q8_0:
        return (scale * blocks[..., 2:].view(np.int8)).reshape(len(raw), -1)
    least = blocks[..., 2:4].copy().view(np.float16).astype(np.float64)
    halves = np.concatenate([blocks[..., 4:] % 16, blocks[..., 4:] // 16], axis=-1)
    return (scale * halves + least).reshape(len(raw), -1)


def stored(path):
    """Returns the values and the tensors (float64, kernels [out, in]) of a file."""
    reader = gguf.GGUFReader(path)
    weights = {}
    for tensor in reader.tensors:
        if tensor.tensor_type in (Q4_1, Q8_0):
            weights[tensor.name] = dequantized(np.array(tensor.data), tensor.tensor_type)
        else:
            weights[tensor.name] = tensor.data.astype(np.float64)
    values = {key: reader.get_field(key).contents() for key in VALUES}
    return values, weights


def logits(values, weights, ids):
    """Returns the logits of one text, float64[tokens, vocabulary].

    Touvron et al. 2023, section 2.2, with grouped keys and values (Ainslie et al. 2023). Outputs 2i
    and 2i + 1 of a head are a point that position p rotates by the angle p / base^(2i / size) (Su
    et al. 2021, section 3.2.2), which is how GGUF files order them.

    Args:
      values: The values of the file.
      weights: The tensors of the file.
      ids: Token ids, a list.
    """
    heads = values["llama.attention.head_count"]
    shared = heads // values["llama.attention.head_count_kv"]
    size = values["llama.rope.dimension_count"]
    epsilon = values["llama.attention.layer_norm_rms_epsilon"]
    places = np.arange(len(ids))[:, None]
    angles = places / values["llama.rope.freq_base"] ** (np.arange(0, size, 2) / size)

    def norm(x, name):
        scale = weights[f"{name}.weight"]
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon) * scale

    def rotated(x):
        points = x[:, 0::2] + 1j * x[:, 1::2]
        points = points * np.exp(1j * angles)
        return np.stack([points.real, points.imag], axis=-1).reshape(len(x), size)

    table = weights["token_embd.weight"]
    x = table[np.array(ids)]
    for index in range(values["llama.block_count"]):
        kernels = {
            part: weights[f"blk.{index}.{part}.weight"]
            for part in ("attn_q", "attn_k", "attn_v", "attn_output")
        }
        up, gate, down = (weights[f"blk.{index}.ffn_{p}.weight"] for p in ("up", "gate", "down"))
        read = norm(x, f"blk.{index}.attn_norm")
        q, k, v = (read @ kernels[part].T for part in ("attn_q", "attn_k", "attn_v"))
        attended = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            pair = slice(head // shared * size, (head // shared + 1) * size)
            scores = rotated(q[:, own]) @ rotated(k[:, pair]).T / np.sqrt(size)
            scores = np.where(np.tri(len(ids), dtype=bool), scores, -np.inf)
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            attended.append(shares / shares.sum(axis=1, keepdims=True) @ v[:, pair])
        x = x + np.concatenate(attended, axis=1) @ kernels["attn_output"].T
        read = norm(x, f"blk.{index}.ffn_norm")
        gated = read @ gate.T
        x = x + (gated / (1 + np.exp(-gated)) * (read @ up.T)) @ down.T
    return norm(x, "output_norm") @ table.T
