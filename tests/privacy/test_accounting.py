"""Epsilons equal published values to the printed digit, each with its order grid."""

import math
import subprocess
import sys

import dp_accounting as dpa
import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from tff_nlp.errors import UserError
from tff_nlp.privacy import accounting, events


def sampled(probability, noise, rounds):
    return events.compose(
        [dpa.SelfComposedDpEvent(events.poisson_round(probability, noise), rounds)]
    )


def classic(probability, noise, rounds, delta, orders=accounting.INTEGER_ORDERS):
    divergences = accounting.rdp_of(sampled(probability, noise, rounds), orders)
    return accounting.classic_epsilon(orders, divergences, delta)[0]


def improved(probability, noise, rounds, delta, orders=accounting.FINE_ORDERS):
    divergences = accounting.rdp_of(sampled(probability, noise, rounds), orders)
    return accounting.improved_epsilon(orders, divergences, delta)


# McMahan et al. 2018, table 1: population, cohort, noise multiplier, epsilon after 1, 10, ... 10^6
# rounds at delta = population^-1.1.
TABLE_1 = [
    (1e5, 1e2, 1, [0.97, 0.98, 1.00, 1.07, 1.18, 2.21, 7.50]),
    (1e6, 1e1, 1, [0.68, 0.69, 0.69, 0.69, 0.69, 0.72, 0.73]),
    (1e6, 1e3, 1, [1.17, 1.17, 1.20, 1.28, 1.39, 2.44, 8.13]),
    (1e6, 1e4, 1, [1.73, 1.92, 2.08, 3.06, 8.49, 32.38, 187.01]),
    (1e6, 1e3, 3, [0.47, 0.47, 0.48, 0.48, 0.49, 0.67, 1.95]),
    (1e9, 1e3, 1, [0.84, 0.84, 0.84, 0.85, 0.88, 0.88, 0.88]),
]


@pytest.mark.parametrize(("population", "cohort", "noise", "printed"), TABLE_1)
def test_table_1_of_mcmahan_2018(population, cohort, noise, printed):
    found = [classic(cohort / population, noise, 10**k, population**-1.1) for k in range(7)]
    assert [f"{epsilon:.2f}" for epsilon in found] == [f"{epsilon:.2f}" for epsilon in printed]


def test_stackoverflow_by_three_accountants():
    found = accounting.epsilons(sampled(5000 / 763430, 1.0, 5000), 1e-9)
    assert f"{found.rdp_classic:.3f}" == "4.634"
    assert f"{found.rdp:.3f}" == "4.183"
    # The discretization changes the last digit: it is 3.8988 with a tenth of this interval.
    assert found.pld == pytest.approx(3.903, abs=1e-3)
    assert found.pld < found.rdp < found.rdp_classic
    assert found.adjacency is accounting.ADD_OR_REMOVE


def test_tff_tutorial():
    found = accounting.epsilons(sampled(120 / 3383, 1.2, 100), 1e-5)
    assert f"{found.rdp:.4f}" == "1.9861"
    assert f"{found.pld:.4f}" == "1.7075"
    assert f"{improved(119 / 3383, 1.19, 100, 1e-5)[0]:.4f}" == "2.0043"


@pytest.mark.parametrize(
    ("n", "batch", "noise", "epochs", "delta", "epsilon", "order"),
    [
        (60000, 150, 1.3, 15, 1e-5, 0.7242234026109595, 19),
        (100000, 100, 1.0, 30, 1e-7, 1.4154988495444842, 13),
    ],
)
def test_tf_privacy_examples(n, batch, noise, epochs, delta, epsilon, order):
    steps = math.ceil(epochs * n / batch)
    found, at = improved(batch / n, noise, steps, delta)
    assert found == pytest.approx(epsilon, rel=1e-6)
    assert at == order


@pytest.mark.parametrize(
    ("noise", "epochs", "printed"),
    [
        (1.1, 60, (3.01, 2.597, 2.391)),
        (1.3, 15, (1.19, 0.954, 0.869)),
        (0.7, 45, (7.10, 6.320, 5.643)),
    ],
)
def test_mnist_tutorial(noise, epochs, printed):
    steps = math.ceil(epochs * 60000 / 256)
    fine = accounting.FINE_ORDERS
    found = accounting.epsilons(sampled(256 / 60000, noise, steps), 1e-5, fine, fine)
    assert f"{found.rdp_classic:.2f}" == f"{printed[0]:.2f}"
    # 0.9546 and 6.3184 here: the published third digit depends on the order grid.
    assert found.rdp == pytest.approx(printed[1], abs=2e-3)
    assert f"{found.pld:.3f}" == f"{printed[2]:.3f}"


def test_opacus_example():
    found = accounting.epsilons(sampled(0.04, 1.5, 2250), 1e-5)
    assert found.rdp == pytest.approx(7.32911117143, rel=1e-9)
    # Opacus uses another accountant of privacy losses (PRV). Both approximate the same exact value.
    assert found.pld == pytest.approx(6.777395712, abs=0.01)


def divergence_by_quadrature(probability, noise, order):
    """Returns the Renyi divergence of one round by numerical integration of its definition."""

    def integrand(x):
        density = math.exp(-x * x / (2 * noise**2)) / (noise * math.sqrt(2 * math.pi))
        ratio = 1 - probability + probability * math.exp((2 * x - 1) / (2 * noise**2))
        return density * ratio**order

    moment, _ = integrate.quad(integrand, -80, 80, points=[0], epsrel=1e-13, limit=500)
    return math.log(moment) / (order - 1)


def test_renyi_divergences_of_dp_accounting():
    # The published values at orders 1.5 and 2.5 (6.70579741e-4, 1.08548710e-3) are an older upper
    # approximation. dp_accounting now gives the same values as the integral.
    orders = (1.5, 2.5, 5, 50, 100)
    found = accounting.rdp_of(sampled(0.01, 2.5, 50), orders)
    published = [6.70579741e-4, 1.08548710e-3, 2.18075656e-3, 2.38460375e-2, 167.416308]
    np.testing.assert_allclose(found[2:], published[2:], rtol=1e-6)
    assert (found[:2] < published[:2]).all()
    integrals = [50 * divergence_by_quadrature(0.01, 2.5, order) for order in orders[:4]]
    np.testing.assert_allclose(found[:4], integrals, rtol=1e-6)


def test_gaussian_calibrated_by_dp_accounting():
    # The exact value is epsilon 1 at delta 1e-6, so the PLD accountant must be close to it.
    orders = tuple(1 + step / 100 for step in range(1, 10000))
    event = events.everybody_round(4.530877117)
    divergences = accounting.rdp_of(event, orders)
    assert accounting.improved_epsilon(orders, divergences, 1e-6)[0] == pytest.approx(1, abs=1e-6)


def test_gaussian_loss_equals_the_closed_form():
    # Balle and Wang 2018, theorem 8: delta of (epsilon, sigma).
    norm = stats.norm
    sigma, delta = 0.8, 1e-5
    found = accounting.epsilons(events.everybody_round(sigma), delta)
    reached = norm.cdf(0.5 / sigma - found.pld * sigma) - math.exp(found.pld) * norm.cdf(
        -0.5 / sigma - found.pld * sigma
    )
    assert reached <= delta
    assert reached == pytest.approx(delta, rel=0.02)


def test_epsilon_without_noise_is_infinite_and_without_rounds_zero():
    silent = accounting.epsilons(sampled(0.1, 0.0, 10), 1e-5)
    assert silent.rdp == silent.rdp_classic == silent.pld == math.inf
    nothing = accounting.epsilons(events.compose([]), 1e-5)
    assert nothing.rdp == nothing.rdp_classic == nothing.pld == 0


def test_epsilon_grows_with_rounds_and_falls_with_noise():
    grown = [accounting.epsilons(sampled(0.01, 1.0, n), 1e-6).rdp for n in (1, 10, 100, 1000)]
    assert grown == sorted(grown)
    lower = [accounting.epsilons(sampled(0.01, z, 100), 1e-6).rdp for z in (0.5, 1.0, 2.0, 4.0)]
    assert lower == sorted(lower, reverse=True)


def test_rounds_of_several_kinds_add_up():
    whole = accounting.rdp_of(sampled(0.01, 1.0, 30))
    parts = [sampled(0.01, 1.0, 10), events.poisson_round(0.01, 1.0), sampled(0.01, 1.0, 19)]
    np.testing.assert_allclose(accounting.rdp_of(events.compose(parts)), whole)
    more = accounting.rdp_of(events.compose([*parts, events.everybody_round(5.0)]))
    np.testing.assert_allclose(more - whole, np.array(accounting.FINE_ORDERS) / 50)


def test_fixed_size_cohorts_are_accounted_for_replacement():
    event = events.fixed_size_round(3383, 120, 1.2)
    found = accounting.epsilons(dpa.SelfComposedDpEvent(event, 100), 1e-5)
    assert found.adjacency is accounting.REPLACE_ONE
    assert found.pld is None
    assert found.by("pld") == math.inf
    # Replacing a client changes the sum by up to two clipping norms. So epsilon must be at most the
    # one of half the noise without sampling, and at least the one of Poisson sampling.
    assert (
        1.9861
        < found.rdp
        < accounting.epsilons(dpa.SelfComposedDpEvent(events.everybody_round(0.6), 100), 1e-5).rdp
    )


@pytest.mark.parametrize("delta", [0, -1e-6, 1, math.nan, 1.1e-3])
def test_a_meaningless_delta_is_refused(delta):
    with pytest.raises(UserError, match="^delta="):
        accounting.check_delta(delta, 1000)


def test_delta_of_one_over_population_is_the_limit():
    accounting.check_delta(1e-3, 1000)


def test_very_large_epsilons_are_fast():
    found = accounting.epsilons(sampled(0.5, 0.05, 100), 1e-5)
    assert 1e3 < found.pld <= found.rdp * 1.01 < math.inf
    absurd = accounting.epsilons(sampled(0.1, 0.01, 100_000), 1e-6)
    assert 1e7 < absurd.pld <= absurd.rdp < math.inf


@pytest.mark.thorough
def test_rounding_of_losses_does_not_pile_up_over_a_million_rounds():
    found = accounting.epsilons(sampled(1e-3, 2.611, 1_000_000), 2.5e-7)
    assert found.pld < found.rdp
    assert found.pld_interval < 1e-3


def test_the_whole_room_needs_no_tensorflow():
    script = (
        "import sys\n"
        "from tff_nlp.privacy import accounting, adaptive_clipping, budget, calibration, dp_ftrl\n"
        "from tff_nlp.privacy import events, frontier, signal, statement\n"
        "import experiments.epsilon, experiments.plan_budget\n"
        "from tff_nlp.runs import budget_picture, budget_plan, epsilon_question\n"
        "print([m for m in sys.modules if m.split('.')[0] in\n"
        "       ('tensorflow', 'tensorflow_federated', 'tensorflow_privacy', 'keras', 'jax')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=events.__file__.rpartition("/tff_nlp/")[0],
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.thorough
def test_the_grid_does_not_fill_the_memory_where_epsilon_is_in_the_thousands():
    found = accounting.epsilons(sampled(0.05, 0.05, 10), 1e-3)
    assert found.rdp > 1000
    assert found.rdp / found.pld_interval <= 1.001e6


def exact_gaussian_epsilon(noise, rounds, delta):
    """Returns epsilon of a composition of Gaussian mechanisms (Balle and Wang 2018, theorem 8)."""
    mu = math.sqrt(rounds) / noise

    def excess(epsilon):
        first = special.log_ndtr(mu / 2 - epsilon / mu)
        second = epsilon + special.log_ndtr(-mu / 2 - epsilon / mu)
        return first + math.log1p(-math.exp(second - first)) - math.log(delta)

    return optimize.brentq(excess, 1e-9, 500)


@pytest.mark.parametrize(("noise", "rounds"), [(4, 10), (20, 1000), (50, 10_000), (1000, 10**6)])
@pytest.mark.parametrize("delta", [1e-9, 1e-10, 1e-11, 1e-12, 1e-14, 2e-15, 1e-16, 1e-30, 1e-300])
def test_no_accountant_is_below_the_exact_epsilon_at_a_tiny_delta(noise, rounds, delta):
    """If delta is too small for double precision, the PLD accountant gives no result.

    Sampling with probability 1 is composed numerically, and its exact epsilon is known.
    """
    found = accounting.epsilons(sampled(1.0, noise, rounds), delta)
    exact = exact_gaussian_epsilon(noise, rounds, delta)
    stated = [found.by(name) for name in accounting.ACCOUNTANTS]
    assert min(stated) >= exact * (1 - 1e-6)
    assert found.by(found.tightest) == min(stated) < math.inf
    assert (found.pld is None) == bool(found.pld_reason)
    assert found.pld is None or found.pld <= found.rdp
    if delta <= 1e-15:
        assert found.pld is None
        assert "where double precision ends" in found.pld_reason
