"""Two clients with quadratic losses, for which every algorithm's way can be computed by hand."""

from tff_nlp.runs import quadratic_clients
from tff_nlp.runs.quadratic_clients import (  # noqa: F401
    CENTRES,
    CURVATURES,
    OPTIMUM,
    client,
    fixed_point_of_fed_avg,
    functional_model,
)
from tff_nlp.tasks import foreign_model


def task(start=0.0):
    return foreign_model.from_functional_model(quadratic_clients.functional_model(start))


def clients(steps):
    return [client(number, steps) for number in range(2)]


def local_steps(weight, number, steps, rate, correction=0.0):
    """Gradient descent of one client, by hand."""
    for _ in range(steps):
        weight -= rate * (CURVATURES[number] * (weight - CENTRES[number]) + correction)
    return weight
