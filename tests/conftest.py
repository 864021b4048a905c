"""Fixtures that all tests share."""

import gc
import pathlib
import resource

import hypothesis
import pytest

import tff_nlp  # noqa: F401 (before TensorFlow is imported)

pytest_plugins = ["tests.processor_time"]

# All machines use the same examples, also slow ones.
hypothesis.settings.register_profile(
    "tff_nlp",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tff_nlp")

SHARED_CORPORA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "corpora"


def pytest_collection_finish():
    """Spares the garbage collector what the imports made: each run of a script collects anew."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def limited_files():
    """Returns a function that sets the maximum size of files in bytes. None removes the limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        soft = before[0] if size is None else size
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, before[1]))

    yield limit
    limit(None)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that a test saves."""
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *a, **k: (figures.append(figure), save(figure, *a, **k))
    )
    return figures


@pytest.fixture(scope="session")
def shared_corpora() -> pathlib.Path:
    """The folder of real corpora. Tests that use it are skipped if it is missing."""
    if not SHARED_CORPORA.is_dir():
        pytest.skip(f"{SHARED_CORPORA} is absent")
    return SHARED_CORPORA
