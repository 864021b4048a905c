"""Questions about epsilon, noise, cohorts and rounds as calls, against published values."""

import json

import pytest

from tff_nlp import errors
from tff_nlp.errors import UserError
from tff_nlp.runs import epsilon_question
from tff_nlp.runs.configs.epsilon import EpsilonConfig


@pytest.fixture
def answers(capsys):
    """Returns the JSON of an answer."""

    def answers_with(**values):
        epsilon_question.answer(EpsilonConfig(json=True, **values))
        return json.loads(capsys.readouterr().out)

    return answers_with


@pytest.fixture
def words(capsys):
    """Returns the words of an answer."""

    def words_of(**values):
        epsilon_question.answer(EpsilonConfig(**values))
        return capsys.readouterr().out

    return words_of


TUTORIAL = {"population": 3383, "rounds": 100, "delta": 1e-5}
COHORT, NOISE, TARGET = {"clients_per_round": 120}, {"noise_multiplier": 1.2}, {"target_epsilon": 2}


def test_epsilon_of_noise_and_cohort(answers):
    found = answers(**TUTORIAL, **COHORT, **NOISE)
    assert round(found["rdp"], 4) == 1.9861
    assert round(found["pld"], 4) == 1.7075
    assert found["found"] == "epsilon"


def test_tables_of_papers_with_the_default_grids(answers):
    # Delta is the population to the power of -1.1 by default, as in McMahan et al. 2018.
    found = answers(
        population=1_000_000, clients_per_round=10_000, noise_multiplier=1.0, rounds=10_000
    )
    assert round(found["rdp_classic"], 2) == 8.49
    assert found["delta"] == pytest.approx(1e6**-1.1)
    found = answers(
        population=763_430, clients_per_round=5000, noise_multiplier=1.0, rounds=5000, delta=1e-9
    )
    assert round(found["rdp_classic"], 3) == 4.634
    assert round(found["rdp"], 3) == 4.183
    assert found["pld"] == pytest.approx(3.903, abs=1e-3)


def test_noise_of_epsilon_and_cohort(answers):
    found = answers(**TUTORIAL, **COHORT, **TARGET)
    assert found["found"] == "noise_multiplier"
    assert found["noise_multiplier"] == pytest.approx(1.1959, abs=1e-4)
    assert 1.9999 < found["rdp"] <= 2


def test_largest_cohort_of_epsilon_and_noise(answers):
    found = answers(**TUTORIAL, **NOISE, **TARGET)
    assert (found["found"], found["clients_per_round"]) == ("clients_per_round", 120)


def test_smallest_cohort_of_the_tff_tutorial(answers, words):
    found = answers(**TUTORIAL, noise_ratio=0.01, **TARGET)
    assert found["clients_per_round"] == 120
    assert found["noise_multiplier"] == pytest.approx(1.2)
    out = words(**TUTORIAL, noise_ratio=0.01, **TARGET)
    assert "clients_per_round=120, the smallest that keeps rdp at 2 or below" in out
    assert "add or remove one client" in out
    assert "without amplification" in out


def test_rounds_of_epsilon_noise_and_cohort(answers):
    found = answers(population=3383, delta=1e-5, **COHORT, **NOISE, **TARGET)
    assert (found["found"], found["rounds"]) == ("rounds", 101)


def test_the_answer_is_returned(capsys):
    found = epsilon_question.answer(EpsilonConfig(**TUTORIAL, **NOISE, **TARGET))
    assert found.found == "clients_per_round"
    assert epsilon_question.as_json(found)["clients_per_round"] == 120
    words = errors.without_marks(epsilon_question.in_words(found))
    assert capsys.readouterr().out == f"{words}\n"


def test_another_accountant_may_hold_the_target(answers):
    found = answers(**TUTORIAL, **COHORT, **TARGET, accountant="rdp_classic")
    assert 1.9999 < found["rdp_classic"] <= 2
    assert found["rdp"] < 1.9


def test_adaptive_clipping_shows_its_split(answers, words):
    values = {**TUTORIAL, **COHORT, **NOISE, "dp": "adaptive_clipping"}
    found = answers(**values)
    assert f"{found['noise_split']['updates']:.10f}" == "1.2060453783"
    assert round(found["rdp"], 4) == 1.9861
    assert "noise split: 1.206045378 on the updates, 6 clients" in words(**values)


TREE = {
    "dp": "tree_aggregation",
    "population": 342_477,
    "clients_per_round": 100,
    "delta": 1e-6,
}


def test_trees(answers, words):
    once = {**TREE, "max_participations": 1, "min_separation": 0, "rounds": 1600}
    found = answers(**once, noise_multiplier=8.83)
    assert found["squared_sensitivity"] == 11
    assert found["rdp"] < 2.04
    assert round(found["rdp_classic"], 3) == 2.045
    assert 8.83 > answers(**once, **TARGET)["noise_multiplier"] > 7
    restarted = {**TREE, "max_participations": 4, "min_separation": 399, "restart_every": 400}
    found = answers(**restarted, rounds=1600, noise_multiplier=8.83)
    assert found["squared_sensitivity"] == 36
    found = answers(**restarted, noise_multiplier=8.83, **TARGET)
    assert found["rdp"] <= 2
    assert 1 < found["rounds"] < 1600
    assert "squared sensitivity 36 in trees of 400 rounds" in words(
        **restarted, rounds=1600, noise_multiplier=8.83
    )


def test_grids_can_be_chosen(answers):
    found = answers(**TUTORIAL, **COHORT, **NOISE, orders="2..33")
    assert found["rdp_orders"] == found["rdp_classic_orders"] == "orders 2..33 by 1"
    assert found["rdp"] > 1.9861


def test_no_noise_is_said_to_be_none(answers, words):
    values = {**TUTORIAL, **COHORT, "noise_multiplier": 0.0}
    assert "infinite" in words(**values)
    found = answers(**values)
    assert found["guaranteed"] is False
    assert found["rdp"] is found["pld"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (TARGET, "nothing is left to find"),
        ({"rounds": None, "noise_multiplier": None}, "too little is known"),
        ({"delta": 1e-3}, "delta=0.001: must not exceed 1/population"),
    ],
)
def test_questions_without_an_answer(changes, message):
    config = EpsilonConfig(**{**TUTORIAL, **COHORT, **NOISE, **changes})
    with pytest.raises(UserError, match=message):
        epsilon_question.question(config)
