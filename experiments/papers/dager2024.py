"""DAGER: the texts of a client from its gradient, exactly."""

import functools
from collections.abc import Mapping
from typing import Any

from experiments import published_corpora
from tff_nlp.runs import paper
from tff_nlp.runs.paper import Change

_BATCHES = (1, 2, 4, 8)
_SHORT = "for time: the attack needs only a model"


def _score(key: str, result: Mapping[str, Any]) -> float:
    return float(result["scenarios"]["unprotected"][key])


def _cells() -> list[paper.Cell]:
    return [
        paper.Cell(
            row=row,
            column=f"batch {batch}",
            published=published,
            changes=(Change("client_test_fraction", 0.0, "clients keep nothing for tests"),),
            value=functools.partial(_score, key),
            attack={"scenarios": "unprotected", "sentences": batch, "victims": 5},
        )
        for row, key, published in (
            ("ROUGE-1", "rouge_1", 0.99),
            ("ROUGE-2", "rouge_2", 0.99),
            ("tokens (F-measure)", "tokens", None),
        )
        for batch in _BATCHES
    ]


PAPER = paper.Paper(
    title="DAGER: exact texts from gradients (Petrov et al. 2024)",
    citation=(
        "Petrov, Dimitrov, Baader, Mueller, Vechev: DAGER: Exact Gradient Inversion for Large "
        "Language Models, NeurIPS 2024, arXiv 2405.15586."
    ),
    source="the abstract: ROUGE-1 and ROUGE-2 above .99 for batches of up to 128 texts",
    settings={
        **published_corpora.SST2,
        "encoder": "bert_base_en_uncased",
    },
    files=published_corpora.SST2_FILES,
    tables=(
        paper.Table(
            title="What comes back from one step of SGD on SST-2",
            rows="score",
            columns="texts in the batch",
            unit="from 0 to 1",
            published="at least",
            digits=3,
            compares="",
            cells=_cells(),
        ),
    ),
    findings=(
        "A batch can be read while it has fewer tokens than the network is wide: 768 for BERT, "
        "384 for MiniLM. docs/text_attack.md measures what protects.",
    ),
    departures=(
        paper.Departure("batches", "up to 128 texts", "up to 8 texts", "for time"),
        paper.Departure(
            "search for texts",
            "hours on a GPU for large batches",
            "at most 8,000 texts are tried for an update",
            "seconds on two cores; all tokens come back, but not always in the right text",
        ),
        paper.Departure(
            "phrases",
            "sentences of SST-2",
            "phrases of SST-2, many of them short",
            "GLUE's training rows are phrases",
        ),
    ),
    scales={
        "smoke": paper.Scale(
            (*paper.SMOKE, Change("encoder_width", 64, "wider than the batches have tokens")),
            (0,),
            "a minute",
        ),
        "small": paper.Scale(
            (
                paper.MINILM,
                Change("rounds", 1, _SHORT),
                Change("max_train_examples", 2000, _SHORT),
                Change("clients_per_round", 2, _SHORT),
            ),
            (0, 1),
            "10 minutes",
        ),
        "full": paper.Scale((Change("rounds", 1, _SHORT),), (0, 1, 2), "an hour"),
    },
)
