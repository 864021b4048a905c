import numpy as np
import pytest

from tff_nlp import errors
from tff_nlp.clients import partition
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.runs import attackers, configs

CORPUS = Corpus(
    name="reviews",
    texts=("great phone", "awful phone", "a phone", "great day"),
    labels=np.array([2, 0, 1, 2], np.int32),
    label_names=("bad", "neutral", "good"),
)


def _clients(count):
    names = tuple(f"client {number}" for number in range(count))
    rows = np.arange(count)
    return partition.Partition(names, np.arange(count + 1), rows, "iid", {}, 0, "", count)


def _found(**options):
    run = configs.FederatedRun(attack=configs.AttackConfig(**options))
    return attackers.of_run(run, _clients(20))


def test_a_fraction_of_the_clients_attacks_and_depends_on_the_seed():
    assert _found() is None
    found = _found(attack="sign_flip", attack_fraction=0.25)
    assert found.attacks.sum() == 5
    assert found.line() == "sign_flip with 1: 5 of 20 clients attack"
    assert _found(attack="sign_flip", attack_fraction=0.001).attacks.sum() == 1
    other = configs.FederatedRun(
        attack=configs.AttackConfig(attack="sign_flip", attack_fraction=0.25),
        rounds=configs.RoundsConfig(seed=1),
    )
    again = attackers.of_run(other, _clients(20))
    assert again.attacks.sum() == 5
    assert (again.attacks != found.attacks).any()


def test_label_flip_trains_on_the_opposite_label():
    found = _found(attack="label_flip")
    poisoned = found.poison(CORPUS)
    assert poisoned.labels.tolist() == [0, 2, 1, 0]
    assert poisoned.texts == CORPUS.texts
    assert found.test(CORPUS) is None


def test_a_backdoor_has_the_trigger_and_the_label_in_every_second_text():
    found = _found(attack="backdoor", backdoor_label="good", backdoor_trigger="mn")
    poisoned = found.poison(CORPUS)
    assert poisoned.texts == ("mn great phone", "awful phone", "mn a phone", "great day")
    assert poisoned.labels.tolist() == [2, 0, 2, 2]
    # Texts that have the label anyway would not show whether the backdoor works.
    tested = found.test(CORPUS)
    assert tested.texts == ("mn awful phone", "mn a phone")
    assert tested.labels.tolist() == [2, 2]


def test_attacks_on_updates_leave_the_texts_alone():
    for name in ("sign_flip", "scaling", "alie"):
        assert _found(attack=name).poison(CORPUS) is None


def test_mistakes_are_refused():
    with pytest.raises(errors.UserError, match="backdoor_label=great: reviews has the labels bad"):
        _found(attack="backdoor", backdoor_label="great").poison(CORPUS)
    with pytest.raises(errors.UserError, match="attack_fraction=0.99: all 20 clients would"):
        _found(attack="label_flip", attack_fraction=0.99)
    with pytest.raises(errors.UserError, match="attack_fraction=1"):
        configs.AttackConfig(attack_fraction=1.0)
    with pytest.raises(errors.UserError, match="backdoor_trigger= : must be a word"):
        configs.AttackConfig(backdoor_trigger=" ")
