"""Fixtures that all tests share."""

import pathlib
import resource

import hypothesis
import pytest

import tff_nlp  # noqa: F401 (before TensorFlow is imported)

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


@pytest.fixture
def limited_files():
    """Returns a function that limits how large files may get, in bytes; None lifts the limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        soft = before[0] if size is None else size
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, before[1]))

    yield limit
    limit(None)


@pytest.fixture(scope="session")
def shared_corpora() -> pathlib.Path:
    """The folder of real corpora; tests that use it skip where it is absent."""
    if not SHARED_CORPORA.is_dir():
        pytest.skip(f"{SHARED_CORPORA} is absent")
    return SHARED_CORPORA
