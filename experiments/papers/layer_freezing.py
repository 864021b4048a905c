"""Frozen layers on 20 Newsgroups, central and federated."""

from experiments import published_corpora
from tff_nlp.runs import paper
from tff_nlp.runs.paper import Change

_CENTRAL, _FEDERATED = "central", "FedOpt, round 28"
# What is frozen -> what trains, and the accuracies in percent: central, FedOpt at round 28.
_FROZEN = {
    "nothing": ("all", 86.86, 55.11),
    "embeddings": ("no_embeddings", 86.19, 54.86),
    "embeddings and layers 0 to 2": ("top_3", 85.71, 52.01),
    "all but the head": ("head", 63.83, 12.97),
}
_SKEW = "the paper's partition is a file"
_FEWER = "for time"


def _cells() -> list[paper.Cell]:
    found = []
    for frozen, (trainable, central, federated) in _FROZEN.items():
        found.append(
            paper.Cell(
                frozen,
                _CENTRAL,
                central,
                {"trainable": trainable},
                (published_corpora.NEWS20_ROWS,),
                is_central=True,
            )
        )
        found.append(
            paper.Cell(
                frozen,
                _FEDERATED,
                federated,
                {
                    "trainable": trainable,
                    "num_clients": 100,
                    "clients_per_round": 10,
                    "rounds": 28,
                    "server_learning_rate": 0.1,
                    "server_momentum": 0.9,
                    "client_test_fraction": 0.0,
                },
                (
                    published_corpora.NEWS20_ROWS,
                    Change("partition", "dirichlet", _SKEW),
                    Change("dirichlet_alpha", 1.0, _SKEW),
                ),
            )
        )
    return found


PAPER = paper.Paper(
    title="FedNLP: frozen layers on 20 Newsgroups (Lin et al. 2022)",
    citation=(
        "Lin, He, Zeng, Wang, Huang, Dupuy, Gupta, Soltanolkotabi, Ren, Avestimehr: FedNLP: "
        "Benchmarking Federated Learning Methods for Natural Language Processing Tasks, Findings "
        "of NAACL 2022, arXiv 2104.08815."
    ),
    source="its table of frozen layers, recalled and not checked again: no target",
    settings={
        **published_corpora.NEWS20,
        "encoder": "distilbert-base-uncased",
        "max_tokens": 128,
        "batch_size": 16,
        "client_optimizer": "adamw",
    },
    files=published_corpora.NEWS20_FILES,
    tables=(
        paper.Table(
            title="Accuracy with frozen layers, DistilBERT",
            rows="frozen",
            columns="training",
            unit="accuracy in %",
            digits=2,
            compares="",
            published="recalled",
            cells=_cells(),
        ),
    ),
    departures=(published_corpora.NEWS20_HEADERS,),
    scales={
        "smoke": paper.Scale(
            (
                *paper.SMOKE,
                Change("encoder_layers", 4, "so that three layers can train"),
                Change("max_tokens", 16, "a short path"),
            ),
            (0,),
            "a minute",
        ),
        "small": paper.Scale(
            (
                Change("encoder", "minilm", "it has six layers, too; from a package index"),
                Change("max_tokens", 32, _FEWER),
                Change("max_train_examples", 3000, _FEWER),
                Change("max_test_examples", 1000, _FEWER),
                Change("epochs", 1, _FEWER),
                Change("clients_per_round", 3, _FEWER),
                Change("client_learning_rate", 5e-4, "not stated; MiniLM is narrow"),
            ),
            (0, 1),
            "40 minutes",
        ),
        "full": paper.Scale(
            (
                Change("encoder", "bert_base_en_uncased", "DistilBERT cannot be loaded"),
                Change("client_learning_rate", 5e-5, "not stated"),
            ),
            (0, 1, 2),
            "a day",
        ),
    },
)
