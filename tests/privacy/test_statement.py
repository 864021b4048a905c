"""The statement is complete in words and in JSON, and has no epsilon without a guarantee."""

import json
import math

import dp_accounting as dpa
import pytest
from scipy.stats import norm

from tff_nlp.errors import UserError
from tff_nlp.privacy import accounting, dp_ftrl, events, statement


def rounds(count, noise=1.2, probability=120 / 3383):
    return [events.poisson_round(probability, noise)] * count


def stated(happened, **changes):
    arguments = {
        "mechanism": "gaussian",
        "population": 3383,
        "clients_per_round": 120,
        "delta": 1e-5,
    }
    return statement.state(events.compose(happened), **(arguments | changes))


def test_words_name_mechanism_unit_adjacency_delta_sampling_and_grids():
    words = stated(rounds(100)).in_words()
    for part in (
        "gaussian, noise multiplier 1.2",
        "one client of 3,383; neighbours: add or remove one client",
        "probability 0.0354715, independently",
        "100 with 120 clients expected",
        "1e-05",
        "1.9861",
        "1.7075",
        "2.4195",
        "orders 2..33 by 1, best at 8",
        "orders 1.1..11 by 0.1, 12..63 by 1, 128, 256, 512, 1024, best at 7.8",
        "without amplification",
    ):
        assert part in words, part


@pytest.mark.parametrize(("cohort", "shown"), [(5000, "5,000"), (1_234_567, "1,234,567")])
def test_a_cohort_is_written_out(cohort, shown):
    happened = rounds(1, probability=cohort / 10**8)
    words = stated(happened, population=10**8, clients_per_round=cohort, delta=1e-9).in_words()
    assert f"1 with {shown} clients expected in each" in words


def test_json_has_the_documented_keys_and_survives_strict_json():
    values = json.loads(json.dumps(stated(rounds(100)).to_json(), allow_nan=False))
    assert values["guaranteed"] is True
    assert values["rdp"] == pytest.approx(1.9861, abs=1e-4)
    assert values["pld"] < values["rdp"] < values["rdp_classic"]
    assert values["unamplified"]["rdp"] > 50
    assert (values["unit"], values["adjacency"]) == ("client", "add or remove one client")
    assert (values["rounds"], values["clients_per_round"], values["noise_multiplier"]) == (
        100,
        120,
        1.2,
    )


def test_unamplified_is_the_gaussian_of_all_rounds():
    found = stated(rounds(100)).unamplified
    whole = accounting.epsilons(events.everybody_round(1.2 / 10), 1e-5)
    assert found.rdp == pytest.approx(whole.rdp, rel=1e-9)


def test_the_statement_is_about_recorded_rounds():
    assert stated(rounds(40)).rounds == 40
    mixed = stated(rounds(40) + rounds(10, noise=0.8))
    assert mixed.rounds == 50
    assert mixed.noise_multiplier is None
    assert mixed.epsilons.rdp > stated(rounds(50)).epsilons.rdp
    assert "noise multiplier varied" in mixed.in_words()


def test_a_resumed_run_states_the_same():
    saved = json.dumps(events.to_json(events.compose(rounds(37))))
    resumed = events.compose([events.from_json(json.loads(saved)), *rounds(63)])
    assert stated([resumed]) == stated(rounds(100))


def test_without_noise_there_is_no_guarantee():
    silent = stated(rounds(10, noise=0.0))
    assert not silent.guaranteed
    assert silent.line().startswith("no guarantee")
    assert silent.to_json()["rdp"] is None
    assert "infinite" in silent.in_words()


def test_a_violated_assumption_hides_every_epsilon():
    broken = stated(rounds(100), violations=("cohorts of fixed size",))
    assert broken.line() == "no guarantee: cohorts of fixed size"
    assert "no guarantee cohorts of fixed size" in broken.in_words()
    values = broken.to_json()
    assert values["guaranteed"] is False
    found = [values[name] for name in accounting.ACCOUNTANTS]
    assert found + list(values["unamplified"].values()) == [None] * 6
    for text in (broken.line(), broken.in_words(), json.dumps(values)):
        assert "1.98" not in text
        assert "1.70" not in text


@pytest.mark.parametrize(
    ("accountant", "start"),
    [
        ("rdp", "epsilon 1.9861 (rdp), 1.7075 (pld) at delta 1e-05 for one client of 3,383"),
        ("pld", "epsilon 1.7075 (pld) at delta 1e-05 for one client of 3,383"),
    ],
)
def test_the_line_names_the_runs_accountant_and_a_tighter_one(accountant, start):
    found = stated(rounds(100), accountant=accountant)
    assert found.line().startswith(start)
    assert found.to_json()["accountant"] == accountant


def test_fixed_size_cohorts_state_their_own_adjacency():
    happened = [events.fixed_size_round(3383, 120, 1.2)] * 100
    found = stated(happened)
    assert found.sampling == "fixed_size"
    assert found.noise_multiplier == 1.2
    assert found.adjacency == "replace one client by another"
    assert found.unamplified.adjacency is accounting.REPLACE_ONE
    # The PLD accountant does not support this sampling. The bound without amplification holds.
    assert found.epsilons.pld == found.unamplified.pld > found.epsilons.rdp
    assert found.to_json()["pld"] and found.to_json()["pld_reason"] is None


@pytest.mark.parametrize(
    ("population", "cohort", "noise", "count", "delta", "exact"),
    [
        (100, 90, 4.0, 10, 1e-3, 5.59),
        (1000, 100, 1.0, 1, 1e-4, 8.88),
        (1000, 10, 20.0, 1000, 1e-12, 26.72),
    ],
)
def test_without_sampling_replacing_a_client_changes_a_sum_by_twice_the_norm(
    population, cohort, noise, count, delta, exact
):
    """The neighbouring relation must not change when the sampling is left out."""
    found = stated(
        [events.fixed_size_round(population, cohort, noise)] * count,
        population=population,
        clients_per_round=cohort,
        delta=delta,
    )
    sigma = noise / 2 / count**0.5
    assert found.unamplified.pld == pytest.approx(exact, abs=0.011)
    reached = gaussian_delta(found.unamplified.pld, sigma)
    assert reached == pytest.approx(delta, rel=0.02)
    # No bound with sampling is above the bound without it.
    for name in accounting.ACCOUNTANTS:
        assert found.epsilons.by(name) <= found.unamplified.by(name) * (1 + 1e-9)


def gaussian_delta(epsilon, sigma):
    """Returns delta by Balle and Wang 2018, theorem 8, for a sensitivity of 1."""
    below = norm.cdf(0.5 / sigma - epsilon * sigma)
    return below - math.exp(epsilon) * norm.cdf(-0.5 / sigma - epsilon * sigma)


def test_trees_state_zero_out_and_no_amplification():
    found = statement.state_bounded(
        dp_ftrl.event_of(8.83, 11),
        mechanism="tree_aggregation",
        population=342_477,
        clients_per_round=100,
        noise_multiplier=8.83,
        rounds=1600,
        delta=1e-6,
    )
    assert found.adjacency == "replace all updates of one client by zeros"
    assert found.epsilons == found.unamplified
    assert found.to_json()["rdp"] < 2.04


def test_examples_may_be_the_unit():
    words = stated(rounds(10), unit="example", mechanism="example_level").in_words()
    assert "one example of 3,383; neighbours: add or remove one example" in words


def test_delta_is_checked():
    with pytest.raises(UserError, match="delta"):
        stated(rounds(1), delta=1e-3)


def test_unknown_mechanisms_are_not_private_without_amplification():
    event = statement.without_amplification(dpa.PoissonSampledDpEvent(0.1, dpa.LaplaceDpEvent(1.0)))
    assert event == dpa.NonPrivateDpEvent()
