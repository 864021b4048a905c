"""The robust rules in NumPy and SciPy, from the papers, on float64[clients, coordinates]."""

import numpy as np
import scipy.optimize


def krum_scores(updates, attackers):
    n = len(updates)
    found = []
    for i in range(n):
        distances = sorted(np.sum((updates[i] - updates[j]) ** 2) for j in range(n) if j != i)
        found.append(sum(distances[: max(1, n - attackers - 2)]))
    return found


def best_first(updates, attackers):
    """Sorts by the score, and by the distance to all others where scores are equal."""
    scores = np.round(krum_scores(updates, attackers), 9)
    totals = [np.sum((updates - one) ** 2) for one in updates]
    return np.lexsort([totals, scores])


def krum(updates, attackers):
    return updates[best_first(updates, attackers)[0]]


def multi_krum(updates, attackers):
    best = best_first(updates, attackers)
    return updates[best[: len(updates) - attackers]].mean(axis=0)


def median(updates):
    return np.median(updates, axis=0)


def trimmed_mean(updates, attackers):
    return np.sort(updates, axis=0)[attackers : len(updates) - attackers].mean(axis=0)


def bulyan(updates, attackers):
    left, chosen = list(range(len(updates))), []
    while len(chosen) < len(updates) - 2 * attackers:
        best = int(best_first(updates[left], attackers)[0])
        chosen.append(left.pop(best))
    selected = updates[chosen]
    result = []
    for column in selected.T:
        middle = np.median(column)
        closest = sorted(column, key=lambda value: abs(value - middle))
        result.append(np.mean(closest[: len(updates) - 4 * attackers]))
    return np.array(result)


def geometric_median(updates):
    def cost(point):
        return np.sum(np.linalg.norm(updates - point, axis=1))

    found = scipy.optimize.minimize(
        cost,
        np.median(updates, axis=0),
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20_000, "maxfev": 20_000},
    )
    return found.x


def centered_clipping(updates, previous, radius=None):
    center = np.array(previous, float)
    for _ in range(3):
        distances = np.linalg.norm(updates - center, axis=1)
        within = np.sort(distances)[(len(updates) - 1) // 2] if radius is None else radius
        moves = [
            (x - center) * min(1.0, within / d) if d else x - center
            for x, d in zip(updates, distances, strict=True)
        ]
        center = center + np.mean(moves, axis=0)
    return center
