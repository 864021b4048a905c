"""Membership inference against scikit-learn, scipy and the values by chance."""

import importlib.metadata

import numpy as np
import pytest
import sklearn.metrics
from scipy import special, stats

from tff_nlp.errors import UserError
from tff_nlp.privacy import membership


@pytest.fixture
def installed():
    """Skips if TensorFlow Privacy's attacks, an extra, are not installed."""
    try:
        membership.check_installed()
    except UserError as error:
        pytest.skip(str(error))


def outputs(seed, count, advantage=0.0, labels=3):
    """Returns outputs in which the true label's logit is larger by 1 plus the advantage."""
    generator = np.random.default_rng(seed)
    true = generator.integers(0, labels, count)
    logits = generator.normal(size=(count, labels)) + (1 + advantage) * np.eye(labels)[true]
    return membership.Outputs(logits.astype(np.float32), true)


def test_losses_are_cross_entropies():
    found = outputs(0, 50)
    expected = -special.log_softmax(found.logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(found.losses, expected[np.arange(50), found.labels], rtol=1e-9)
    # The losses of a confident model still differ. Its probabilities in float32 would all be 1.
    sure = membership.Outputs(np.array([[40.0, 0], [50.0, 0]], np.float32), np.zeros(2, int))
    np.testing.assert_allclose(sure.losses, np.exp([-40.0, -50.0]))


@pytest.mark.usefixtures("installed")
def test_the_threshold_attack_is_that_of_scikit_learn_and_scipy():
    members, others = outputs(1, 400, 0.7), outputs(2, 250)
    found = membership.attack(members, others, 5)[membership.THRESHOLD]
    truth = np.repeat([1, 0], [400, 250])
    losses = np.concatenate([members.losses, others.losses])
    assert found.auc == pytest.approx(sklearn.metrics.roc_auc_score(truth, -losses))
    # The largest difference between the rates is the Kolmogorov-Smirnov statistic.
    statistic = stats.ks_2samp(members.losses, others.losses).statistic
    assert found.advantage == pytest.approx(statistic)
    assert found.succeeds
    assert found.advantage > found.chance
    assert (found.members, found.others) == (400, 250)
    curve = np.trapz(found.true_positives, found.false_positives)
    assert curve == pytest.approx(found.auc)


@pytest.mark.usefixtures("installed")
def test_the_regression_finds_what_the_loss_does_not_show():
    """Members with larger logits for all labels have the same losses as others."""
    members, others = outputs(3, 300), outputs(3, 300)
    members = membership.Outputs(members.logits + 3, members.labels)
    found = membership.attack(members, others, 5)
    assert found[membership.THRESHOLD].auc == pytest.approx(0.5, abs=0.01)
    assert found[membership.LOGISTIC_REGRESSION].auc > 0.9
    # Its value by chance is not known.
    assert found[membership.LOGISTIC_REGRESSION].chance is None


@pytest.mark.usefixtures("installed")
def test_the_seed_repeats_the_attack_and_the_global_generator_stays():
    members, others = outputs(4, 90, 0.2), outputs(5, 60)
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    first, second, third = (membership.attack(members, others, seed) for seed in (7, 7, 8))
    assert np.random.random() == expected
    name = membership.LOGISTIC_REGRESSION
    assert first[name].to_json() == second[name].to_json() != third[name].to_json()


@pytest.mark.usefixtures("installed")
def test_too_few_examples_train_no_regression():
    found = membership.attack(outputs(6, 4), outputs(7, 40), 0)
    assert list(found) == [membership.THRESHOLD]


@pytest.mark.parametrize(("members", "others"), [(30, 30), (200, 50)])
def test_the_error_at_chance_is_that_of_the_rank_test(members, others):
    """If members look like others, the AUC is the Mann-Whitney statistic with a known spread."""
    expected = (members + others + 1) / (12 * members * others)
    assert membership._auc_error(0.5, members, others) ** 2 == pytest.approx(expected)


def test_chance_exceeds_the_stated_advantage_in_one_of_twenty_cases():
    generator = np.random.default_rng(0)
    limit = membership._advantage_by_chance(150, 100)
    beyond = sum(
        stats.ks_2samp(generator.random(150), generator.random(100)).statistic > limit
        for _ in range(600)
    )
    assert stats.binomtest(beyond, 600, 0.05).pvalue > 0.01


def test_others_have_the_same_label_mix():
    labels = np.array([0, 0, 0, 2])
    others = np.array([0] * 10 + [1] * 50 + [2] * 3 + [0] * 2)
    chosen = membership.like(labels, others, np.random.default_rng(0))
    assert np.bincount(others[chosen], minlength=3).tolist() == [9, 0, 3]
    assert (np.diff(chosen) > 0).all()
    # None of these has label 1.
    assert not len(membership.like(np.array([0, 1]), np.array([0, 0]), np.random.default_rng(0)))


def test_a_missing_package_is_named_in_one_line(monkeypatch):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(UserError, match=r"need tensorflow-empirical-privacy.*EXTRAS=audit"):
        membership.check_installed()
