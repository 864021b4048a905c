"""Fixtures that all tests share."""

import pathlib

import hypothesis
import pytest

from experiments import silence_libraries  # noqa: F401 (before TensorFlow is imported)

pytest_plugins = ["tests.processor_time"]

# The same examples on every machine, however slow it is.
hypothesis.settings.register_profile(
    "tff_nlp",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tff_nlp")

SHARED_CORPORA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "corpora"


@pytest.fixture(scope="session")
def shared_corpora() -> pathlib.Path:
    """The folder of real corpora; tests that use it skip where it is absent."""
    if not SHARED_CORPORA.is_dir():
        pytest.skip(f"{SHARED_CORPORA} is absent")
    return SHARED_CORPORA
