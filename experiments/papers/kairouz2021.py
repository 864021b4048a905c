"""DP-FTRL: epsilons and sensitivities of tree aggregation."""

import functools

from tff_nlp.runs import accounted, paper

_ONE_TREE = "one tree of 1,600 rounds, each client once"


def _epsilon(noise: float, published: float) -> paper.Cell:
    return paper.Cell(
        row=f"noise multiplier {noise}",
        column=_ONE_TREE,
        published=published,
        compute=functools.partial(accounted.classic_epsilon_of_tree, noise, 1600, delta=1e-6),
    )


def _sensitivity(participations: int, separation: int, rounds: int, published: int) -> paper.Cell:
    return paper.Cell(
        row=f"{rounds} rounds",
        column=f"{participations} participations, {separation} rounds between",
        published=published,
        compute=functools.partial(
            accounted.squared_sensitivity, participations, separation, rounds
        ),
    )


PAPER = paper.Paper(
    title="DP-FTRL: epsilon and sensitivity of trees (Kairouz et al. 2021)",
    citation=(
        "Kairouz, McMahan, Song, Thakkar, Thakurta, Xu: Practical and Private (Deep) Learning "
        "without Sampling or Shuffling, ICML 2021, arXiv 2103.00039."
    ),
    source="the StackOverflow experiments; the sensitivities are those of TF-Privacy's tests",
    tables=(
        paper.Table(
            title="StackOverflow: epsilon at delta 1e-6",
            rows="noise",
            columns="schedule",
            unit="epsilon",
            digits=2,
            exact=True,
            cells=(_epsilon(1.13, 19.74), _epsilon(8.83, 2.04)),
        ),
        paper.Table(
            title="Squared sensitivity of a tree if clients take part several times",
            rows="rounds",
            columns="participation",
            unit="squared clipping norms",
            digits=0,
            exact=True,
            cells=(
                _sensitivity(1, 7, 8, 4),
                _sensitivity(3, 3, 9, 11),
                _sensitivity(3, 2, 7, 9),
                _sensitivity(8, 2, 24, 88),
            ),
        ),
    ),
    findings=(
        "The epsilons are Renyi DP with the classic conversion. The best schedule of 8 "
        "participations in 24 rounds is not the one in which a client comes as early as it may: "
        "the greedy choice of the paper's appendix gives less than 88.",
    ),
)
