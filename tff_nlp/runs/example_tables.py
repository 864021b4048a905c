"""Tables of single test texts: some at random, and those that a model gets most wrong."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tff_nlp import seeds
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.printable import printable
from tff_nlp.runs import pages
from tff_nlp.tasks import classification_scores, language_scores

COUNT = 10
_LONGEST_TEXT, _LONGEST_LABEL = 300, 40


def of_labels(
    scores: classification_scores.Scores, corpus: Corpus, label_names: Sequence[str]
) -> Mapping[str, pages.Table]:
    """Returns a table of random texts, and one of the wrong predictions that were most certain.

    Args:
      scores: Scores on the texts, with the prediction of each.
      corpus: The texts.
      label_names: Names of the labels.
    """
    names = [printable(name, _LONGEST_LABEL) for name in label_names]
    order = np.argsort(-scores.shares, kind="stable")
    wrong = order[scores.predicted[order] != scores.labels[order]][:COUNT]

    def cells(row: int) -> list[str]:
        predicted = names[scores.predicted[row]]
        return [names[scores.labels[row]], predicted, f"{scores.shares[row]:.3f}"]

    header = ("label", "predicted", "probability", "text")
    tables = {"Ten test texts": _table(header, _some(len(corpus)), cells, corpus)}
    if len(wrong):
        tables["Most wrongly predicted"] = _table(header, wrong, cells, corpus)
    return tables


def of_perplexities(
    scores: language_scores.LanguageScores, corpus: Corpus
) -> Mapping[str, pages.Table]:
    """Returns a table of random texts, and one of the texts with the highest perplexities.

    Args:
      scores: Scores on the texts.
      corpus: The texts.
    """
    worst = np.argsort(-scores.text_losses, kind="stable")[:COUNT]

    def cells(row: int) -> list[str]:
        return [f"{np.exp(scores.text_losses[row]):,.1f}"]

    header = ("perplexity per token", "text")
    return {
        "Ten test texts": _table(header, _some(len(corpus)), cells, corpus),
        "Least expected texts": _table(header, worst, cells, corpus),
    }


def _some(count: int) -> np.ndarray:
    """Returns random rows, the same ones for each run on the same texts."""
    order = seeds.generator(0, "report_texts").permutation(count)
    return np.sort(order[:COUNT])


def _table(
    header: Sequence[str], rows: np.ndarray, cells: Callable[[int], list[str]], corpus: Corpus
) -> pages.Table:
    return pages.Table(header, [[*cells(row), _text(corpus, row)] for row in rows.tolist()])


def _text(corpus: Corpus, row: int) -> str:
    text = printable(corpus.texts[row], _LONGEST_TEXT)
    if corpus.second_texts is None:
        return text
    return f"{text} / {printable(corpus.second_texts[row], _LONGEST_TEXT)}"
