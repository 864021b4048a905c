"""Shamir's sharing against published numbers and other methods of interpolation."""

import fractions
import itertools
import random

import pytest

from tff_nlp.aggregation.secure_aggregation import sharing

P = sharing.PRIME


def is_probable_prime(number, bases):
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        value = pow(base, odd, number)
        if value in (1, number - 1):
            continue
        for _ in range(twos - 1):
            value = value * value % number
            if value == number - 1:
                break
        else:
            return False
    return True


def rational_constant(points):
    """Returns the constant term of the polynomial through integer points, in exact fractions."""
    total = fractions.Fraction(0)
    for x, y in points.items():
        term = fractions.Fraction(y)
        for other in points:
            if other != x:
                term *= fractions.Fraction(-other, x - other)
        total += term
    return total


def eliminated_constant(points):
    """Returns the constant term in the field, by Gaussian elimination for the coefficients."""
    rows = [[pow(x, k, P) for k in range(len(points))] + [y] for x, y in points.items()]
    for k in range(len(rows)):
        pivot = next(i for i in range(k, len(rows)) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        inverse = pow(rows[k][k], P - 2, P)
        rows[k] = [value * inverse % P for value in rows[k]]
        for i in range(len(rows)):
            if i != k:
                rows[i] = [(a - rows[i][k] * b) % P for a, b in zip(rows[i], rows[k], strict=True)]
    return rows[0][-1]


def test_the_field_is_that_of_the_largest_prime_below_2_to_256():
    generator = random.Random(0)
    bases = [generator.randrange(2, 2**64) for _ in range(40)]
    assert is_probable_prime(P, bases)
    assert not any(is_probable_prime(n, [2]) for n in range(P + 1, 2**256))


def test_the_published_example():
    # 1234 + 166 x + 94 x^2, the example of the encyclopedia's article on Shamir's scheme.
    shares = {1: 1494, 2: 1942, 3: 2578, 4: 3402, 5: 4414, 6: 5614}
    for points in itertools.combinations(shares, 3):
        assert sharing.combine(sharing.weights(points), shares) == 1234
    for points in itertools.combinations(shares, 2):
        assert sharing.combine(sharing.weights(points), shares) != 1234


@pytest.mark.parametrize("seed", range(5))
def test_combining_agrees_with_exact_fractions(seed):
    generator = random.Random(seed)
    points = {x: generator.randrange(P) for x in generator.sample(range(1, 10**6), 7)}
    exact = rational_constant(points)
    expected = exact.numerator * pow(exact.denominator, -1, P) % P
    assert sharing.combine(sharing.weights(list(points)), points) == expected


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 3), (2, 2), (3, 5), (7, 10)])
def test_any_threshold_shares_give_the_secret(threshold, count):
    generator = random.Random(threshold)
    secret = generator.randrange(P)
    points = [generator.randrange(1, 2**63 + 1) for _ in range(count)]
    shares = dict(zip(points, sharing.split(secret, threshold, points), strict=True))
    for _ in range(5):
        chosen = {x: shares[x] for x in generator.sample(points, threshold)}
        assert eliminated_constant(chosen) == secret
        assert sharing.combine(sharing.weights(list(chosen)), chosen) == secret


def test_fewer_shares_fit_every_secret():
    points = [3, 8, 9, 20]
    shares = dict(zip(points, sharing.split(77, 4, points), strict=True))
    known = {x: shares[x] for x in points[:3]}
    # For every possible secret there is a polynomial of the same degree through the known shares.
    # It only gives another fourth share, so the known shares fit all secrets.
    fourth = {
        candidate: eliminated_constant(
            {(x - 20) % P: y for x, y in known.items()} | {P - 20: candidate}
        )
        for candidate in (0, 77, 78, P - 1)
    }
    assert fourth[77] == shares[20]
    assert len(set(fourth.values())) == 4


def test_shares_of_the_same_secret_are_uniform_and_new():
    low = [0] * 16
    for _ in range(3200):
        share, _ = sharing.split(5, 2, [1, 2])
        low[share * 16 // P] += 1
    # The shares are new in each run. With 15 degrees of freedom, the bound is exceeded by chance
    # once in 10^9 runs.
    assert sum((n - 200) ** 2 / 200 for n in low) < 73.6


@pytest.mark.parametrize(
    ("secret", "threshold", "points"),
    [(P, 1, [1]), (-1, 1, [1]), (1, 0, [1]), (1, 3, [1, 2]), (1, 2, [0, 1]), (1, 2, [1, 1])],
)
def test_bad_arguments(secret, threshold, points):
    with pytest.raises(ValueError, match="field|threshold"):
        sharing.split(secret, threshold, points)


def test_points_out_of_the_field_have_no_weights():
    for points in ([1, P], [2, 2], [0, 3]):
        with pytest.raises(ValueError, match="points"):
            sharing.weights(points)
