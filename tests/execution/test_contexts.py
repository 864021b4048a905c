"""Contexts by name."""

import sys

import pytest

from tff_nlp import errors
from tff_nlp.execution import contexts


def test_ray_where_it_is_not_installed(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("tff_nlp.execution.ray_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("tff_nlp.execution.ray_context", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(errors.UserError, match="EXTRAS=ray scripts/setup"):
        contexts.install("ray")


def test_unknown_names_and_options_of_other_contexts():
    with pytest.raises(errors.UserError, match="choose one of streaming, ray, tff"):
        contexts.install("flower")
    with pytest.raises(errors.UserError, match="context=tff: has no max_failed_clients"):
        contexts.install("tff", max_failed_clients=1)
    with pytest.raises(errors.UserError, match="context=tff: has no ray_address"):
        contexts.install("tff", ray_options=contexts.RayOptions(address="auto"))
