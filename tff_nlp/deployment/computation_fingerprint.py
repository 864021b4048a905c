"""A fingerprint of a TensorFlow graph that does not depend on the names in it.

Two programs that build the same computation give its nodes and functions other names, because
TensorFlow counts them in the order in which a process makes them. The fingerprint has each node by
its operation, its attributes and its inputs, so both programs get the same one.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tff_nlp.execution import forms, graphs, structures

# Attributes that say where or under which name a node runs, and not what it computes.
_NAMES = frozenset({"_class", "container", "config_proto", "metadata", "shared_name"})


def of_form(form: forms.RoundForm) -> str:
    """Returns the fingerprint of what the clients of a round compute, 64 hexadecimal digits.

    It covers the graph of a client's work, the types of its inputs, and the secure sums.
    """
    parts = [of_graph(form.work)]
    parts += [of_graph(bounds) for bounds in (form.bitwidths, form.max_inputs, form.moduli)]
    types = (form.data_type, form.prepare.result_type, form.work.result_type)
    parts += [
        f"{graphs.tensor_spec(leaf)}" for each in types for leaf in structures.flatten_types(each)
    ]
    parts += [str(places) for places in form.client_values]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def of_graph(graph: graphs.Graph) -> str:
    """Returns the fingerprint of a graph, 64 hexadecimal digits."""
    functions = _Functions(graph.graph_def.library)
    inputs = {name.partition(":")[0]: f"input {place}" for place, name in enumerate(graph.inputs)}
    body = _Body(graph.graph_def.node, inputs, functions)
    ends = [body.endpoint(name) for name in graph.outputs]
    return _digest("graph", *body.numbered(graph.outputs), *ends)


class _Functions:
    """The fingerprints of the functions of a library, by their names."""

    def __init__(self, library: tf.compat.v1.GraphDef) -> None:
        self._definitions = {f.signature.name: f for f in library.function}
        self._known: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._definitions

    def fingerprint(self, name: str) -> str:
        """Returns the fingerprint of a function; the name itself if it is not in the library."""
        if name not in self._definitions:
            return name
        if name not in self._known:
            self._known[name] = self._compute(self._definitions[name])
        return self._known[name]

    def _compute(self, function: Any) -> str:
        signature = function.signature
        arguments = {arg.name: f"input {place}" for place, arg in enumerate(signature.input_arg)}
        body = _Body(function.node_def, arguments, self)
        results = [function.ret[arg.name] for arg in signature.output_arg]
        waits = sorted(f"^{node}" for node in function.control_ret.values())
        types = [str(arg.type) for arg in (*signature.input_arg, *signature.output_arg)]
        # What a function must run, although no result needs it.
        also = sorted(body.structures(waits))
        ends = [body.endpoint(name) for name in results]
        return _digest("function", *types, *body.numbered(results), *also, *ends)


class _Body:
    """The nodes of a graph or of a function."""

    def __init__(
        self, nodes: Sequence[Any], inputs: Mapping[str, str], functions: _Functions
    ) -> None:
        """Reads the nodes.

        Args:
          nodes: The nodes.
          inputs: Name of each input -> what stands for it.
          functions: The functions that nodes call.
        """
        self._nodes = {node.name: node for node in nodes}
        self._inputs, self._functions = inputs, functions
        self._structures: dict[str, str] = dict(inputs)
        self._numbers: dict[str, int] = {}

    def endpoint(self, name: str) -> str:
        """Returns a tensor's node by its number, and which of the node's outputs it is."""
        node, output = _split(name)
        stands_for = self._numbers.get(node, self._inputs.get(node, node))
        return f"{stands_for}:{output}"

    def structures(self, names: Sequence[str]) -> list[str]:
        """Returns the fingerprint of each node and of all that it needs."""
        tops = [_split(name)[0] for name in names]
        for node in self._in_order(tops, self._sources):
            if node not in self._structures:
                definition = self._nodes[node]
                inputs = [self._reference(i) for i in definition.input if not i.startswith("^")]
                waits = sorted(self._reference(i) for i in definition.input if i.startswith("^"))
                self._structures[node] = _digest(
                    definition.op, *self._attributes(definition), *inputs, *waits
                )
        return [self._structures.get(top, top) for top in tops]

    def numbered(self, outputs: Sequence[str]) -> Iterator[str]:
        """Yields a line for each node that the outputs need, and gives these nodes numbers.

        Nodes of the same structure may be one node that is used twice, or two. The numbers tell
        these apart.
        """
        self.structures(outputs)
        tops = [_split(name)[0] for name in outputs]
        for node in self._in_order(tops, self._sorted_sources):
            if node in self._nodes and node not in self._numbers:
                self._numbers[node] = len(self._numbers)
                definition = self._nodes[node]
                ends = [self.endpoint(i) for i in definition.input if not i.startswith("^")]
                waits = sorted(self.endpoint(i) for i in definition.input if i.startswith("^"))
                yield " ".join([self._structures[node], *ends, *waits])

    def _reference(self, name: str) -> str:
        node, output = _split(name)
        return f"{'^' if name.startswith('^') else ''}{self._structures.get(node, node)}:{output}"

    def _sources(self, name: str) -> list[str]:
        found = self._nodes.get(name)
        return [_split(i)[0] for i in found.input] if found is not None else []

    def _sorted_sources(self, name: str) -> list[str]:
        """Returns the nodes that a node needs, those that it only waits for by their structure."""
        found = self._nodes.get(name)
        if found is None:
            return []
        inputs = [_split(i)[0] for i in found.input if not i.startswith("^")]
        waits = [_split(i)[0] for i in found.input if i.startswith("^")]
        return [*inputs, *sorted(waits, key=lambda n: self._structures.get(n, n))]

    def _in_order(self, tops: Sequence[str], sources: Callable[[str], list[str]]) -> list[str]:
        """Returns the nodes that some nodes need, each after those that it needs itself."""
        order: dict[str, None] = {}
        begun: set[str] = set()
        pending = [(top, False) for top in reversed(tops)]
        while pending:
            name, done = pending.pop()
            if done:
                order[name] = None
            elif name not in begun:
                begun.add(name)
                pending.append((name, True))
                pending.extend((source, False) for source in reversed(sources(name)))
        return list(order)

    def _attributes(self, node: Any) -> Iterator[str]:
        if node.op in self._functions:
            yield self._functions.fingerprint(node.op)
        for name in sorted(node.attr):
            if name not in _NAMES:
                yield f"{name}={self._attribute(node.attr[name])}"

    def _attribute(self, value: Any) -> str:
        kind = value.WhichOneof("value")
        if kind == "func":
            return self._function(value.func)
        if kind == "list" and value.list.func:
            return ",".join(map(self._function, value.list.func))
        return hashlib.sha256(value.SerializeToString(deterministic=True)).hexdigest()

    def _function(self, value: Any) -> str:
        attributes = [f"{name}={self._attribute(value.attr[name])}" for name in sorted(value.attr)]
        return " ".join([self._functions.fingerprint(value.name), *attributes])


def _split(name: str) -> tuple[str, str]:
    """Returns the node of a tensor or of a control input, and the name of the node's output."""
    node, _, output = name.removeprefix("^").partition(":")
    return node, output or "0"


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()
