"""A small Hugging Face GPT-2 checkpoint with fixed weights."""

import numpy as np

from tff_nlp.models.byte_pair_vocabulary import BYTE_CHARACTERS, END_OF_TEXT

MERGES = ("t h", "th e", "Ġ t", "Ġ the", "c a", "ca t")
TOKENS = (*BYTE_CHARACTERS, *(merge.replace(" ", "") for merge in MERGES), END_OF_TEXT)
CONFIG = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "vocab_size": 264,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 12,
    "n_inner": 40,
    "layer_norm_epsilon": 1e-5,
    "resid_pdrop": 0.1,
    "embd_pdrop": 0.2,
    "attn_pdrop": 0.3,
}


def shapes():
    """Names and shapes of a `transformers.GPT2Model` of CONFIG; Conv1D kernels are [in, out]."""
    found = {"wte.weight": (264, 16), "wpe.weight": (12, 16)}
    dense = {
        "attn.c_attn": (16, 48),
        "attn.c_proj": (16, 16),
        "mlp.c_fc": (16, 40),
        "mlp.c_proj": (40, 16),
    }
    norms = ["ln_f"]
    for layer in ("h.0.", "h.1."):
        norms += [layer + "ln_1", layer + "ln_2"]
        for name, shape in dense.items():
            found[f"{layer}{name}.weight"] = shape
            found[f"{layer}{name}.bias"] = shape[1:]
    for name in norms:
        found[f"{name}.weight"] = found[f"{name}.bias"] = (16,)
    return found


def tensors():
    """The weights that PyTorch computed the stored outputs with."""
    made = {}
    for index, (name, shape) in enumerate(sorted(shapes().items())):
        steps = np.arange(np.prod(shape), dtype=np.float64)
        wave = 0.5 * np.sin(steps * (0.7 + 0.013 * index) + index)
        offset = 1.0 if "ln_" in name and name.endswith("weight") else 0.0
        made[name] = (offset + wave).reshape(shape).astype(np.float32)
    return made
