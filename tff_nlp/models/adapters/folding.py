"""A trained adapter, apart from its network or folded into it."""

import dataclasses
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_nlp import durable_files
from tff_nlp.errors import UserError, message, verbatim
from tff_nlp.models import functional
from tff_nlp.models.adapters import lora
from tff_nlp.models.adapters.adapter import Attached

Arrays = Sequence[np.ndarray]


def fold(model: Any, trainable: Sequence[Any], frozen: Sequence[Any]) -> tuple[Any, Arrays, Arrays]:
    """Returns a model without low-rank factors that computes the same, and its weights.

    Other adapters stay in the network, because they are no change of its weights.

    Args:
      model: A `Classifier` or a `CausalModel`.
      trainable: Tensors or arrays in the order of the model's `trainable_names`.
      frozen: Tensors or arrays in the order of the model's `frozen_names`.

    Returns:
      The model, and its trainable and frozen weights. The model has no `keras_model`.
    """
    trainable, frozen = list(map(np.asarray, trainable)), list(map(np.asarray, frozen))
    layers = model._attached.low_rank
    if not layers:
        return model, trainable, frozen
    values = {
        id(weight.variable): value
        for weight, value in zip(model._weights, (*trainable, *frozen), strict=True)
    }
    factors = {id(variable) for layer in layers for variable in layer.factors()}
    for layer in layers:
        kernel = id(layer.dense.kernel)
        parts = [values[id(variable)] for variable in layer.factors()]
        values[kernel] = lora.fold(values[kernel], parts, layer.scale)
    count = len(model.trainable_names)
    kept = [
        [_named(weight) for weight in part if id(weight.variable) not in factors]
        for part in (model._weights[:count], model._weights[count:])
    ]
    folded = dataclasses.replace(
        model,
        trainable_names=tuple(weight.name for weight in kept[0]),
        frozen_names=tuple(weight.name for weight in kept[1]),
        factors=(),
        _weights=(*kept[0], *kept[1]),
        _attached=Attached(),
        _fixed=tuple((layer, "is_folded", True) for layer in layers),
    )
    arrays = [[values[id(weight.variable)] for weight in part] for part in kept]
    return folded, arrays[0], arrays[1]


def _named(weight: functional.Weight) -> functional.Weight:
    """Returns a weight with its name in a network without factors: the layer is not in another."""
    *path, layer, leaf = weight.name.split("/")
    if path and path[-1] == layer:
        return dataclasses.replace(weight, name="/".join([*path, leaf]))
    return weight


def save(
    path: pathlib.Path,
    model: functional.WeightsAsValues,
    trainable: Sequence[Any],
    frozen: Sequence[Any],
) -> None:
    """Writes the weights that differ from the frozen network, as NumPy arrays by name.

    These are the trained weights, the fixed factors, and the frozen matrices that have trained
    factors, because "fedex" and "flora" change them.

    Args:
      path: The file, with the ending .npz.
      model: A `Classifier` or a `CausalModel`.
      trainable: Tensors or arrays in the order of the model's `trainable_names`.
      frozen: Tensors or arrays in the order of the model's `frozen_names`.

    Raises:
      WriteError: If the file cannot be written.
    """
    own = {id(variable) for variable in model._attached.stays}
    initial = model.initial_weights()[1]
    members = dict(zip(model.trainable_names, trainable, strict=True))
    weights = model._weights[len(model.trainable_names) :]
    for weight, value, before in zip(weights, frozen, initial, strict=True):
        if id(weight.variable) in own or not np.array_equal(value, before):
            members[weight.name] = value
    # NumPy's own writer changes the name of the file.
    with durable_files.replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, value in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)


def load(
    path: pathlib.Path, model: functional.WeightsAsValues
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the weights of a model with an adapter from a file, in the order of its names.

    Args:
      path: A file that `save` wrote.
      model: A model with the same network and the same adapter. The weights that are not in the
        file are its initial weights.

    Raises:
      UserError: If the file cannot be read, or belongs to another network or adapter.
    """
    members = _read(path)
    parts = []
    for names, values in zip(
        (model.trainable_names, model.frozen_names), model.initial_weights(), strict=True
    ):
        part = []
        for name, value in zip(names, values, strict=True):
            given = members.pop(name, None)
            if given is None and names is model.trainable_names:
                raise UserError(
                    f"{verbatim(path)}: has no weight {name}; it belongs to another adapter"
                )
            if given is not None and (given.shape != value.shape or given.dtype != value.dtype):
                raise UserError(
                    f"{verbatim(path)}: {name} has another shape; it belongs to another network"
                )
            part.append(value if given is None else given)
        parts.append(part)
    if members:
        raise UserError(
            f"{verbatim(path)}: has the weight {min(members)}; it belongs to another adapter"
        )
    return parts[0], parts[1]


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            members: Mapping[str, Any] = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{verbatim(path)}: cannot be read as an adapter ({message(error)})"
        ) from error
    return dict(members)
