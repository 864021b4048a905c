"""FedPETuning: all weights, adapters, LoRA, BitFit and prefixes on three tasks of GLUE."""

from collections.abc import Mapping
from typing import Any

from experiments import published_corpora
from tff_nlp.runs import paper

_ALPHAS = (0.1, 1.0, 10.0)
_FULL, _ADAPTER, _LORA, _BITFIT, _PREFIX = "full", "adapter", "LoRA", "BitFit", "prefix"
_METHODS: Mapping[str, Mapping[str, Any]] = {
    _FULL: {"trainable": "all"},
    _ADAPTER: {"adapter": "houlsby", "adapter_width": 64},
    _LORA: {"adapter": "lora", "lora_rank": 8},
    _BITFIT: {"trainable": "biases"},
    _PREFIX: {"adapter": "prefix"},
}
_TASKS: Mapping[str, Mapping[str, Any]] = {
    "RTE": published_corpora.RTE,
    "MRPC": published_corpora.MRPC,
    "SST-2": published_corpora.SST2,
}
# Accuracy in percent for the three values of alpha.
_PUBLISHED = {
    "RTE": {
        _FULL: (68.4, 70.3, 71.7),
        _ADAPTER: (61.5, 69.4, 70.9),
        _LORA: (65.2, 67.4, 68.5),
        _BITFIT: (59.6, 61.4, 63.2),
        _PREFIX: (53.9, 58.6, 59.4),
    },
    "MRPC": {_FULL: (84.8, 90.8, 91.0), _LORA: (82.0, 84.5, 86.2)},
    "SST-2": {_FULL: (92.4, 93.9, 94.5), _LORA: (92.0, 93.6, 93.7)},
}
_RATE = "the paper searches a rate for each method and does not print it"
_RATES = {_FULL: 3e-4, _ADAPTER: 2e-3, _LORA: 3e-3, _BITFIT: 3e-3, _PREFIX: 3e-3}
_ROUNDS = {"RTE": 1, "MRPC": 1, "SST-2": 8}
_FEWER = "for time"


def _table(task: str) -> paper.Table:
    cells = [
        paper.Cell(
            row=method,
            column=f"alpha {alpha:g}",
            published=published,
            settings={**_TASKS[task], **_METHODS[method], "dirichlet_alpha": alpha},
            changes=(paper.Change("client_learning_rate", _RATES[method], _RATE),),
        )
        for method, numbers in _PUBLISHED[task].items()
        for alpha, published in zip(_ALPHAS, numbers, strict=True)
    ]
    return paper.Table(
        title=f"{task}: accuracy of the global model",
        rows="method",
        columns="Dirichlet partition",
        unit="accuracy in %",
        cells=cells,
    )


# RoBERTa-base with two labels: layers, width, feed-forward width, vocabulary, positions.
_LAYERS, _WIDTH, _INNER, _WORDS, _POSITIONS = 12, 768, 3072, 50265, 514
_HEAD = _WIDTH * _WIDTH + _WIDTH + 2 * _WIDTH + 2


def _all_weights() -> int:
    attention = 4 * (_WIDTH * _WIDTH + _WIDTH)
    dense = 2 * _WIDTH * _INNER + _INNER + _WIDTH
    layer = attention + dense + 4 * _WIDTH
    # One type of token, and a norm.
    embeddings = (_WORDS + _POSITIONS + 1) * _WIDTH + 2 * _WIDTH
    return embeddings + _LAYERS * layer + _HEAD


def _times_fewer(own: int) -> float:
    """Returns how many times fewer numbers a client sends than with all weights."""
    return _all_weights() / (own + _HEAD)


def _adapters(width: int) -> int:
    return _LAYERS * 2 * (2 * _WIDTH * width + width + _WIDTH)


_LORA_WEIGHTS = _LAYERS * 2 * 2 * 8 * _WIDTH
_BIASES = _LAYERS * (4 * _WIDTH + _INNER + _WIDTH + 2 * _WIDTH) + _WIDTH
_PREFIXES = _LAYERS * 2 * 16 * _WIDTH


def _bytes(row: str, published: float, own: int) -> paper.Cell:
    return paper.Cell(row, "times fewer", published, compute=lambda: _times_fewer(own))


_COPY = "copies differ: in one of them, a spreadsheet has joined rows to 4,045 and 1,713"
_SMALL = (
    paper.MINILM,
    # RTE and MRPC are pairs of long sentences; SST-2's are shorter than this.
    paper.Change("max_tokens", 64, _FEWER),
    paper.Change("max_train_examples", 4000, _FEWER, {"corpus": _TASKS["SST-2"]["corpus"]}),
    *(
        paper.Change("rounds", rounds, _FEWER, {"corpus": _TASKS[task]["corpus"]})
        for task, rounds in _ROUNDS.items()
    ),
)

PAPER = paper.Paper(
    title="FedPETuning: few trained weights in federated learning (Zhang et al. 2023)",
    citation=(
        "Zhang, Yang, Dai, Wang, Yu, Qu, Xu: FedPETuning: When Federated Learning Meets the "
        "Parameter-Efficient Tuning Methods of Pre-trained Language Models, Findings of ACL 2023, "
        "arXiv 2212.10025."
    ),
    source="its tables of accuracy under label skew and of communication",
    settings={
        "encoder": "roberta-base",
        "partition": "dirichlet",
        "num_clients": 100,
        "clients_per_round": 10,
        "rounds": 100,
        "batch_size": 32,
        "max_tokens": 128,
        "client_test_fraction": 0.0,
    },
    files=(
        *published_corpora.RTE_FILES,
        *published_corpora.MRPC_FILES,
        *published_corpora.SST2_FILES,
    ),
    tables=(
        *map(_table, _TASKS),
        paper.Table(
            title="Numbers that a client sends, RoBERTa-base with two labels",
            rows="method",
            columns="beside all weights",
            unit="times fewer",
            compares="",
            cells=(
                _bytes(f"{_LORA} (rank 8)", 140.5, _LORA_WEIGHTS),
                _bytes(f"{_ADAPTER} (width 64)", 42.0, _adapters(64)),
                _bytes(f"{_ADAPTER} (width 16)", 103.8, _adapters(16)),
                _bytes(_BITFIT, 190.0, _BIASES),
                _bytes(f"{_PREFIX} (16 positions)", 12.1, _PREFIXES),
            ),
        ),
        paper.Table(
            title="Measured size of a client's update on RTE",
            rows="method",
            columns="Dirichlet partition",
            unit="MB",
            digits=3,
            compares="",
            cells=[
                paper.Cell(
                    row=method,
                    column="alpha 1",
                    settings={**_TASKS["RTE"], **settings, "dirichlet_alpha": 1.0},
                    changes=(paper.Change("client_learning_rate", _RATES[method], _RATE),),
                    value=paper.bytes_up,
                )
                for method, settings in _METHODS.items()
            ],
        ),
    ),
    departures=(
        paper.Departure("rows of MRPC", "4,076 and 1,725 rows", "as in the file", _COPY),
        paper.Departure(
            "numbers of BitFit",
            "190 times fewer",
            "179.5",
            "counted are all biases, the norms' too, and the head",
        ),
        paper.Departure(
            "numbers of prefixes",
            "12.1 times fewer",
            "140.5",
            "the paper's prefixes come from a trained network; ours are trained themselves",
        ),
    ),
    scales={
        "smoke": paper.Scale(
            (*paper.SMOKE, paper.Change("max_tokens", 32, "a short path")), (0,), "minutes"
        ),
        "small": paper.Scale(_SMALL, (0, 1), "an hour"),
        "full": paper.Scale(
            (paper.Change("encoder", "bert_base_en_uncased", "RoBERTa cannot be loaded"),),
            (0, 1, 2),
            "days",
        ),
    },
)
