"""Builds the ONNX graph of a plain BERT. Its weights are floats, half floats or 8-bit integers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tff_nlp.models.huggingface import INPUTS, MASK, SEGMENTS, TOKENS
from tff_nlp.serving import formats, rounded_weights
from tff_nlp.serving.plain_bert import HEAD, PlainBert

OUTPUT = "logits"
# Versions that ONNX Runtime has read since 2023. The first with LayerNormalization is 17.
_OPERATORS, _FORMAT = 17, 8
_MASKED = -1e9
# Without 8-bit dot products, x86 processors add pairs of products in 16 bits. Weights of 7 bits
# cannot overflow there.
_MOST = 63


def build(bert: PlainBert, precision: str) -> Any:
    """Returns the ONNX model, an `onnx.ModelProto`.

    The inputs are int64[batch, length]: "input_ids", "attention_mask", and for pairs
    "token_type_ids". The output is "logits", float32[batch, labels].

    Args:
      bert: The classifier.
      precision: One of `formats.PRECISIONS`. float16 stores the weights of the encoder as half
        floats and computes in float32. int8 stores the tables and matrices of the encoder as
        integers; the inputs of matrix products are rounded to 8 bits when they are computed.
    """
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph(precision)
    outputs = graph.layers(bert)
    logits = graph.head(bert, outputs)
    graph.nodes.append(helper.make_node("Identity", [logits], [OUTPUT]))
    names = INPUTS[: 3 if bert.reads_pairs else 2]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in names
    ]
    output = helper.make_tensor_value_info(
        OUTPUT, TensorProto.FLOAT, ["batch", len(bert.label_names)]
    )
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "text_classifier", inputs, [output], initializer=graph.initializers
        ),
        producer_name="tff_nlp",
        opset_imports=[helper.make_opsetid("", _OPERATORS)],
        ir_version=_FORMAT,
    )
    onnx.checker.check_model(model)
    return model


class _Graph:
    """The nodes and constants of a graph. Methods add to them and return names of values."""

    def __init__(self, precision: str) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._precision = precision
        self._values = 0

    def layers(self, bert: PlainBert) -> str:
        """Adds embeddings and transformer layers. Returns float[batch, length, width]."""
        x = self._norm(bert, "embeddings.LayerNorm", self._embeddings(bert))
        bias = self._mask_bias()
        for number in range(bert.layers):
            layer = f"encoder.layer.{number}"
            attended = self._attention(bert, layer, x, bias)
            x = self._norm(
                bert, f"{layer}.attention.output.LayerNorm", self._add("Add", x, attended)
            )
            inner = self._gelu(bert, self._dense(bert, f"{layer}.intermediate.dense", x))
            outer = self._dense(bert, f"{layer}.output.dense", inner)
            x = self._norm(bert, f"{layer}.output.LayerNorm", self._add("Add", x, outer))
        return x

    def head(self, bert: PlainBert, outputs: str) -> str:
        """Adds the pooling and the head. Returns the logits, float[batch, labels]."""
        if bert.pooling == "mean":
            mask = self._add("Cast", MASK, to=_float())
            row = self._add("Unsqueeze", mask, self._constant(np.array([1])))
            total = self._add(
                "Squeeze", self._add("MatMul", row, outputs), self._constant(np.array([1]))
            )
            count = self._add("ReduceSum", mask, self._constant(np.array([1])), keepdims=1)
            pooled = self._add("Div", total, self._add("Max", count, self._number(1.0)))
        else:
            pooled = self._add("Gather", outputs, self._constant(np.array(0)), axis=1)
        if bert.pooling == "pooler":
            pooled = self._add("Tanh", self._dense(bert, "pooler.dense", pooled))
        kernel = self._constant(bert.tensors[f"{HEAD}.weight"].T)
        product = self._add("MatMul", pooled, kernel)
        return self._add("Add", product, self._constant(bert.tensors[f"{HEAD}.bias"]))

    def _embeddings(self, bert: PlainBert) -> str:
        words = self._rows(bert.tensors["embeddings.word_embeddings.weight"], TOKENS)
        positions = self._positions(bert)
        segments = bert.tensors["embeddings.token_type_embeddings.weight"]
        if bert.reads_pairs:
            added = self._add("Gather", self._constant(segments), SEGMENTS)
        else:
            added = self._constant(segments[0])
        return self._add("Add", self._add("Add", words, positions), added)

    def _positions(self, bert: PlainBert) -> str:
        """Returns the embeddings of the positions, float[length, width]."""
        # Longer texts are cut, so the other rows are never read.
        table = bert.tensors["embeddings.position_embeddings.weight"][: bert.max_tokens]
        length = self._add("Gather", self._add("Shape", TOKENS), self._constant(np.array(1)))
        places = self._add(
            "Range", self._constant(np.array(0)), length, self._constant(np.array(1))
        )
        return self._rows(table, places)

    def _rows(self, table: np.ndarray, places: str) -> str:
        """Returns rows of a table, float[..., width]."""
        if self._precision != formats.INT8:
            stored = self._constant(self._stored(table))
            return self._floats(self._add("Gather", stored, places))
        rounded, scales = rounded_weights.round_rows(table)
        rows = self._add("Gather", self._constant(rounded), places)
        factors = self._add("Gather", self._constant(scales), places)
        return self._add("Mul", self._add("Cast", rows, to=_float()), factors)

    def _attention(self, bert: PlainBert, layer: str, x: str, bias: str) -> str:
        size = bert.width // bert.heads
        # In a Reshape, 0 keeps a dimension.
        apart = self._constant(np.array([0, 0, bert.heads, size]))
        query, key, value = (
            self._add("Reshape", self._dense(bert, f"{layer}.attention.self.{name}", x), apart)
            for name in ("query", "key", "value")
        )
        query, value = (self._add("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
        key = self._add("Transpose", key, perm=[0, 2, 3, 1])
        scores = self._add("Div", self._add("MatMul", query, key), self._number(size**0.5))
        shares = self._add("Softmax", self._add("Add", scores, bias), axis=-1)
        read = self._add("Transpose", self._add("MatMul", shares, value), perm=[0, 2, 1, 3])
        joined = self._add("Reshape", read, self._constant(np.array([0, 0, bert.width])))
        return self._dense(bert, f"{layer}.attention.output.dense", joined)

    def _mask_bias(self) -> str:
        """Returns what is added to the scores: 0 for tokens, -1e9 for padding."""
        mask = self._add("Cast", MASK, to=_float())
        padding = self._add("Mul", self._add("Sub", self._number(1.0), mask), self._number(_MASKED))
        return self._add("Unsqueeze", padding, self._constant(np.array([1, 2])))

    def _norm(self, bert: PlainBert, name: str, x: str) -> str:
        weights = [self._constant(bert.tensors[f"{name}.{leaf}"]) for leaf in ("weight", "bias")]
        return self._add("LayerNormalization", x, *weights, epsilon=bert.epsilon, axis=-1)

    def _gelu(self, bert: PlainBert, x: str) -> str:
        if bert.gelu == "exact":
            scaled = self._add("Div", x, self._number(2**0.5))
            curve = self._add("Erf", scaled)
        else:
            cubed = self._add("Mul", self._add("Mul", x, x), x)
            inner = self._add("Add", x, self._add("Mul", cubed, self._number(0.044715)))
            curve = self._add("Tanh", self._add("Mul", inner, self._number((2 / np.pi) ** 0.5)))
        product = self._add("Mul", x, self._add("Add", curve, self._number(1.0)))
        return self._add("Mul", product, self._number(0.5))

    def _dense(self, bert: PlainBert, name: str, x: str) -> str:
        kernel, bias = bert.tensors[f"{name}.weight"], bert.tensors[f"{name}.bias"]
        if self._precision != formats.INT8:
            stored = self._floats(self._constant(self._stored(kernel.T)))
            return self._add("Add", self._add("MatMul", x, stored), self._constant(bias))
        rounded, scales = rounded_weights.round_rows(kernel, _MOST)
        numbers, scale, zero = self._add_all("DynamicQuantizeLinear", [x], 3)
        product = self._add("MatMulInteger", numbers, self._constant(rounded.T), zero)
        factor = self._add("Mul", scale, self._constant(scales.reshape(-1)))
        floats = self._add("Mul", self._add("Cast", product, to=_float()), factor)
        return self._add("Add", floats, self._constant(bias))

    def _stored(self, value: np.ndarray) -> np.ndarray:
        return value.astype(np.float16) if self._precision == formats.FLOAT16 else value

    def _floats(self, x: str) -> str:
        if self._precision == formats.FLOAT16:
            return self._add("Cast", x, to=_float())
        return x

    def _number(self, value: float) -> str:
        return self._constant(np.array(value, np.float32))

    def _constant(self, value: np.ndarray) -> str:
        from onnx import numpy_helper

        name = self._new_name()
        self.initializers.append(
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        )
        return name

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self._add_all(operator, inputs, 1, **attributes)[0]

    def _add_all(
        self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> list[str]:
        from onnx import helper

        names = [self._new_name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def _new_name(self) -> str:
        self._values += 1
        return f"value_{self._values}"


def _float() -> int:
    from onnx import TensorProto

    return int(TensorProto.FLOAT)
