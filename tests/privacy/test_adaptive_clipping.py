"""The noise split of adaptive clipping, against published values and TFF."""

import math

import pytest

from tff_nlp.errors import UserError
from tff_nlp.privacy.adaptive_clipping import split_noise


@pytest.mark.parametrize(
    ("clients", "noise", "printed"), [(120, 1.2, "1.2060453783"), (50, 0.5, ".5025189076")]
)
def test_published_splits(clients, noise, printed):
    split = split_noise(noise, clients)
    assert f"{split.updates:.10f}".lstrip("0") == printed
    assert split.count_stddev == pytest.approx(0.05 * clients)


def test_the_parts_cost_what_the_whole_does():
    split = split_noise(0.9, 30, count_stddev=2.0)
    assert split.updates**-2 + (2 * split.count_stddev) ** -2 == pytest.approx(0.9**-2)


def test_tff_splits_the_same():
    from tensorflow_federated.python.aggregators import differential_privacy

    for noise, clients, stddev in [
        (1.2, 120, None),
        (0.3, 10, None),
        (2.0, 50, 4.0),
        (0, 10, None),
    ]:
        ours = split_noise(noise, clients, stddev)
        theirs = differential_privacy.adaptive_clip_noise_params(noise, clients, stddev)
        assert (ours.updates, ours.count_stddev) == pytest.approx(theirs)


@pytest.mark.parametrize(("clients", "noise"), [(10, 1.0), (10, 1.5), (5, 0.5)])
def test_a_cohort_too_small_for_its_noise_is_refused(clients, noise):
    with pytest.raises(UserError, match="^noise_multiplier=.*a larger cohort"):
        split_noise(noise, clients)
    assert split_noise(math.nextafter(noise, 0), clients * noise * 20).updates > noise * 0.99


def test_negative_noise_is_refused():
    with pytest.raises(UserError, match="must be 0 or more"):
        split_noise(-1, 10)
