"""What of a round crosses the network: which tensors, in which order, and how large."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tff_nlp.aggregation.secure_aggregation import packing, session
from tff_nlp.deployment import pieces
from tff_nlp.execution import forms, graphs, ledger, secure_sums, structures


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Bytes of one silo in one round, without framing.

    Attributes:
      down: What it fetches.
      up: What it sends in the clear.
      masked: Integers that it sends masked.
    """

    down: int
    up: int
    masked: int


def broadcast_specs(form: forms.RoundForm) -> list[tf.TensorSpec]:
    """Returns the specs of the broadcast, with the frozen weights."""
    return [graphs.tensor_spec(t) for t in structures.flatten_types(form.prepare.result_type)]


def update_specs(form: forms.RoundForm) -> list[tf.TensorSpec]:
    """Returns the specs of a client's update, with what stays at the client."""
    return [graphs.tensor_spec(t) for t in structures.flatten_types(form.update_type)]


def broadcast_places(form: forms.RoundForm) -> list[int]:
    """Returns the positions of what silos fetch: all but the frozen weights, which they have."""
    frozen = set(ledger.frozen_places(form))
    return [place for place in range(len(broadcast_specs(form))) if place not in frozen]


def sent_places(form: forms.RoundForm) -> list[int]:
    """Returns the positions of what silos send: all but the results that stay at them."""
    kept = {place for places in form.client_values for place in places}
    return [place for place in range(len(update_specs(form))) if place not in kept]


def vectors(summands: Sequence[secure_sums.Summand], cohort: int) -> list[session.Vector]:
    """Returns the vectors of secure aggregation.

    Args:
      summands: The secure sums of the round.
      cohort: Number of silos of a round.
    """
    return [session.Vector(s.spec.shape.num_elements(), s.modulus_for(cohort)) for s in summands]


def sizes(form: forms.RoundForm, cohort: int) -> Sizes:
    """Returns what a silo fetches and sends in a round.

    Raises:
      UserError: If a tensor has no fixed size.
    """
    down, up = broadcast_specs(form), update_specs(form)
    masked = vectors(secure_sums.summands_of(form), cohort)
    return Sizes(
        down=sum(pieces.sizes([down[place] for place in broadcast_places(form)])),
        up=sum(pieces.sizes([up[place] for place in sent_places(form)])),
        masked=sum(packing.packed_bytes(vector.length, vector.bits) for vector in masked),
    )
