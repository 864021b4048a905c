"""Small encoders that the tests of this room share."""

import pytest

from tff_nlp.models import encoders

TEXTS = (
    "The cat sat on the mat, happily!",
    "A good movie; the actors were good and the plot was not bad.",
    "外卖很好吃，下次再来。",
    "bad bad food, never again",
) * 5


@pytest.fixture(scope="session")
def texts():
    return TEXTS


@pytest.fixture
def tiny():
    """Makes a fresh encoder: 2 layers, 32 wide."""

    def make(**arguments):
        settings = {"layers": 2, "width": 32, "heads": 2, "vocabulary_size": 200} | arguments
        return encoders.random(TEXTS, max_tokens=64, **settings)

    return make
