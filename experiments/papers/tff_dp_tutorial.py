"""TFF's tutorial on differential privacy: cohort and noise for epsilon 2."""

from tff_nlp.runs import accounted, paper

_CLIENTS, _RATIO, _ROUNDS, _DELTA, _TARGET = 3383, 0.01, 100, 1e-5, 2.0


def _cohort() -> float:
    return accounted.smallest_cohort(
        _CLIENTS, _RATIO, _ROUNDS, delta=_DELTA, target_epsilon=_TARGET
    )


PAPER = paper.Paper(
    title="TFF's tutorial on differential privacy: cohort and noise",
    citation=(
        "TensorFlow Federated: Differential Privacy in TFF, "
        "https://www.tensorflow.org/federated/tutorials/federated_learning_with_differential_privacy."
    ),
    source="the tutorial's last cells: EMNIST, 3,383 clients, noise over cohort .01, 100 rounds",
    tables=(
        paper.Table(
            title="The smallest cohort for epsilon 2 at delta 1e-5",
            rows="quantity",
            columns="federation",
            unit="clients, or noise over the clipping norm",
            digits=1,
            exact=True,
            cells=(
                paper.Cell("clients per round", "3,383 clients", 120, compute=_cohort),
                paper.Cell(
                    "noise multiplier", "3,383 clients", 1.2, compute=lambda: _RATIO * _cohort()
                ),
            ),
        ),
    ),
    departures=(
        paper.Departure(
            "accuracy on EMNIST",
            ".7703 with noise .5 and 50 clients per round",
            "not computed",
            "these are images; this project is about text",
        ),
    ),
)
