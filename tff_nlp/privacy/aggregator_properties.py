"""The properties of aggregator objects, including those of TFF."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow_federated as tff
import tensorflow_privacy as tfp

from tff_nlp.privacy import names
from tff_nlp.privacy.properties import Properties

# The queries of TensorFlow Privacy that identify a mechanism. If queries wrap one another, the
# first mechanism in this list counts.
_QUERIES = (
    (
        names.TREE_AGGREGATION,
        (
            "TreeResidualSumQuery",
            "TreeCumulativeSumQuery",
            "TreeRangeSumQuery",
            "QAdaClipTreeResSumQuery",
        ),
    ),
    (names.DISTRIBUTED, ("DistributedDiscreteGaussianSumQuery", "DistributedSkellamSumQuery")),
    (names.ADAPTIVE_CLIPPING, ("QuantileAdaptiveClipSumQuery",)),
    (names.GAUSSIAN, ("GaussianSumQuery",)),
)


def of(aggregator: Any) -> Properties:
    """Returns an aggregator's properties.

    Aggregators of this package have an attribute `properties`. TFF's aggregators are recognized by
    their types, and by the aggregators that they wrap. All other aggregators have the properties of
    the aggregators that they wrap.

    Args:
      aggregator: An aggregator of `tff.aggregators` or of this package; None for the mean.
    """
    own = getattr(aggregator, "properties", None)
    if isinstance(own, Properties):
        return own
    inner = next((of(wrapped) for wrapped in _wrapped(aggregator)), Properties())
    if isinstance(aggregator, tff.aggregators.DifferentiallyPrivateFactory):
        return dataclasses.replace(inner, mechanism=_mechanism(aggregator))
    if type(aggregator).__name__ == "DistributedDpSumFactory":  # TFF does not export it.
        return Properties(mechanism=names.DISTRIBUTED, secure_sum=True)
    if isinstance(aggregator, tff.aggregators.EncodedSumFactory):
        return Properties(coded_by="`aggregator`=EncodedSumFactory")
    secure = tff.aggregators.SecureSumFactory | tff.aggregators.SecureModularSumFactory
    if isinstance(aggregator, secure):
        return Properties(secure_sum=True)
    if isinstance(aggregator, tff.aggregators.UnweightedReservoirSamplingFactory):
        return Properties(sums_suffice=False)
    if _clips_to_a_fixed_norm(aggregator) and not inner.protects_clients:
        return dataclasses.replace(inner, clips=True)
    return inner


def _wrapped(aggregator: Any) -> Iterator[Any]:
    """Yields the aggregators that an aggregator wraps, except those of counts and weights."""
    held = {**getattr(aggregator, "__dict__", {}), **_closure(getattr(aggregator, "create", None))}
    for name, value in held.items():
        counts = name.endswith(("count_sum_factory", "weight_sum_factory"))
        if isinstance(value, tff.aggregators.AggregationFactory) and not counts:
            yield value


def _clips_to_a_fixed_norm(aggregator: Any) -> bool:
    """Returns whether `tff.aggregators.clipping_factory` created an aggregator with a fixed norm.

    An adaptive norm does not count, because its bound is not known before the rounds.
    """
    variables = _closure(getattr(aggregator, "create", None))
    clip = getattr(variables.get("make_clip_fn"), "__qualname__", "")
    if not clip.startswith("clipping_factory."):
        return False
    norm = _closure(variables["init_fn_impl"])["clipping_norm_process"]
    return not tff.types.type_to_tf_tensor_specs(norm.state_type.member)


def _closure(function: Any) -> Mapping[str, Any]:
    """Returns the variables of the enclosing functions that a function uses."""
    is_python = inspect.isfunction(function) or inspect.ismethod(function)
    return inspect.getclosurevars(function).nonlocals if is_python else {}


def _mechanism(aggregator: Any) -> str:
    kinds = set(_queries(aggregator._query))
    for mechanism, queries in _QUERIES:
        if kinds.intersection(queries):
            return mechanism
    return names.OTHER


def _queries(query: Any) -> Iterator[str]:
    """Yields the class names of a query and of the queries that it wraps."""
    yield from (kind.__name__ for kind in type(query).__mro__)
    for part in vars(query).values():
        if isinstance(part, tfp.DPQuery):
            yield from _queries(part)
