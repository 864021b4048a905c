"""The algorithm of docs/own_algorithm.md runs unchanged."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.learning import quadratics
from tff_nlp.execution import streaming

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "own_algorithm.md"


def test_the_page_runs_as_it_stands():
    page = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(code.splitlines()) < 60
    given = {"task": quadratics.task(), "rounds": 3, "clients": quadratics.clients(5)}
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        exec(compile(code, str(PAGE), "exec"), given)
    # One client moves up and the other one down, each by a step of length one. The mean is between.
    weight = given["process"].get_model_weights(given["state"]).trainable[0]
    assert float(weight) == pytest.approx(0.0, abs=1e-6)
    only = [quadratics.client(0, 5)]
    state = given["composition"].initial_state(given["process"], given["task"])
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        state = given["process"].next(state, only).state
    moved = given["process"].get_model_weights(state).trainable[0]
    np.testing.assert_allclose(moved, 0.1, rtol=1e-6)
