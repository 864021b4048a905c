"""A context for the tests of this room, so that training installs none for good."""

import pytest
import tensorflow_federated as tff

from tff_nlp.execution import streaming


@pytest.fixture(autouse=True)
def _streaming():
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"] * 2)):
        yield
