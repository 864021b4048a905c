"""SCAFFOLD on quadratics: FedAvg stops beside the optimum, SCAFFOLD reaches it."""

import functools

from tff_nlp.runs import paper

_RATE, _ROUNDS, _STEPS = 0.1, 100, (2, 5, 10)


def _weight(algorithm: str, steps: int) -> float:
    from tff_nlp.runs import quadratic_clients  # It needs TensorFlow.

    return quadratic_clients.weight_after(algorithm, steps=steps, rate=_RATE, rounds=_ROUNDS)


def _fixed_point(steps: int) -> float:
    """Returns where FedAvg stays: mean_k (1 - q_k) b_k / mean_k (1 - q_k), q_k = (1 - .1 a_k)^K."""
    moved = [1 - (1 - _RATE * a) ** steps for a in (1.0, 3.0)]
    return (moved[0] * 2.0 - moved[1]) / sum(moved)


PAPER = paper.Paper(
    title="SCAFFOLD: two clients with quadratic losses (Karimireddy et al. 2020)",
    citation=(
        "Karimireddy, Kale, Mohri, Reddi, Stich, Suresh: SCAFFOLD: Stochastic Controlled Averaging "
        "for Federated Learning, ICML 2020, arXiv 1910.06378."
    ),
    source=(
        "closed forms for the losses (w - 2)^2 / 2 and 3 (w + 1)^2 / 2: the optimum of their mean "
        "is -0.25, and FedAvg's rounds have a fixed point that depends on the local steps"
    ),
    tables=(
        paper.Table(
            title="The weight after 100 rounds with full gradients",
            rows="algorithm",
            columns="local steps",
            unit="weight",
            digits=4,
            exact=True,
            cells=[
                paper.Cell(
                    row=row,
                    column=str(steps),
                    published=published(steps),
                    compute=functools.partial(_weight, algorithm, steps),
                )
                for row, algorithm, published in (
                    ("FedAvg", "fedavg", _fixed_point),
                    ("SCAFFOLD", "scaffold", lambda steps: -0.25),
                )
                for steps in _STEPS
            ],
        ),
    ),
    departures=(
        paper.Departure(
            "the quadratics",
            "its figure 3 has other curvatures and adds noise",
            "two curvatures, 1 and 3, without noise",
            "so that each number has a closed form",
        ),
    ),
)
