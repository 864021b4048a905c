"""The same texts over 1 to 32 clients: accuracy falls as the clients become more."""

from tff_nlp.runs import paper
from tff_nlp.runs.paper import Change

_ROW, _COUNTS = "FedAvg", (1, 2, 4, 8, 16, 32)


def _column(count: int) -> str:
    return f"{count} client" + ("s" if count > 1 else "")


def _above(fewer: int, more: int) -> tuple[tuple[str, str], tuple[str, str]]:
    return (_ROW, _column(fewer)), (_ROW, _column(more))


PAPER = paper.Paper(
    title="Large language models over 1 to 32 clients (Hilmkil et al. 2021)",
    citation=(
        "Hilmkil, Callh, Barbieri, Sütfeld, Zec, Mogren: Scaling Federated Learning for "
        "Fine-tuning of Large Language Models, NLDB 2021, arXiv 2102.00875."
    ),
    source=(
        "the abstract: more clients converge more slowly, and DistilBERT may fall to chance. Its "
        "curves have no printed numbers"
    ),
    settings={
        "corpus": "imdb/imdb.csv",
        "text_column": "reviews",
        "label_column": "labels",
        "label_map": "0:negative,1:positive",
        "encoder": "distilbert-base-uncased",
        "partition": "iid",
        "client_test_fraction": 0.0,
        "client_epochs": 1,
    },
    files=(
        paper.File(
            "imdb/imdb.csv", "data/imdb of https://github.com/bzantium/bert-AAD (2,000 reviews)"
        ),
    ),
    tables=(
        paper.Table(
            title="Accuracy on reviews of films",
            rows="algorithm",
            columns="number of clients, all in each round",
            unit="accuracy in %",
            compares="",
            cells=[
                paper.Cell(
                    _ROW,
                    _column(count),
                    settings={"num_clients": count, "clients_per_round": count},
                )
                for count in _COUNTS
            ],
            higher=(_above(1, 8), _above(1, 32), _above(2, 16), _above(4, 32), _above(8, 32)),
        ),
    ),
    departures=(
        paper.Departure(
            "number of reviews", "50,000", "2,000", "the file that is used has 2,000 of them"
        ),
    ),
    scales={
        "smoke": paper.Scale(
            (
                *paper.SMOKE,
                Change("max_tokens", 16, "a short path"),
            ),
            (0,),
            "a minute",
        ),
        "small": paper.Scale(
            (
                paper.MINILM,
                Change("rounds", 2, "the paper trains 100 rounds"),
                Change("batch_size", 16, "not stated"),
                Change("max_tokens", 64, "reviews are cut, for time"),
                Change("client_learning_rate", 3e-4, "not stated"),
            ),
            (0, 1),
            "50 minutes",
        ),
        "full": paper.Scale(
            (
                Change("encoder", "bert_base_en_uncased", "DistilBERT cannot be loaded"),
                Change("rounds", 100, "as in the paper's figures"),
                Change("max_tokens", 512, "as long as a BERT reads"),
                Change("client_learning_rate", 2e-5, "not stated"),
            ),
            (0, 1, 2),
            "a day",
        ),
    },
)
