"""FedNLP on 20 Newsgroups: FedAvg is stuck where FedOpt learns."""

from experiments import published_corpora
from tff_nlp.runs import paper
from tff_nlp.runs.paper import Change

_FEDOPT = {"server_learning_rate": 0.1, "server_momentum": 0.9}
_LENGTH = "for time"

PAPER = paper.Paper(
    title="FedNLP: 20 Newsgroups with FedAvg and FedOpt (Lin et al. 2022)",
    citation=(
        "Lin, He, Zeng, Wang, Huang, Dupuy, Gupta, Soltanolkotabi, Ren, Avestimehr: FedNLP: "
        "Benchmarking Federated Learning Methods for Natural Language Processing Tasks, Findings "
        "of NAACL 2022, arXiv 2104.08815."
    ),
    source="issues 19 (FedAvg stays at .063) and 7 (FedOpt's plateau at 83 %) of its repository",
    settings={
        **published_corpora.NEWS20,
        "encoder": "bert_base_en_uncased",
        "max_tokens": 128,
        "num_clients": 100,
        "clients_per_round": 1,
        "rounds": 50,
        "client_epochs": 10,
        "batch_size": 16,
        "client_optimizer": "adamw",
        "client_learning_rate": 1e-4,
        "client_test_fraction": 0.0,
    },
    files=published_corpora.NEWS20_FILES,
    tables=(
        paper.Table(
            title="Accuracy with one client per round",
            rows="algorithm",
            columns="corpus",
            unit="accuracy in %",
            cells=[
                paper.Cell(
                    row,
                    "20 Newsgroups",
                    published,
                    settings,
                    (
                        Change("partition", "dirichlet", "the repository's partition is a file"),
                        Change("dirichlet_alpha", 1.0, "that of the paper's table 2"),
                        published_corpora.NEWS20_ROWS,
                    ),
                )
                for row, published, settings in (("FedAvg", 6.3, {}), ("FedOpt", 83.0, _FEDOPT))
            ],
        ),
    ),
    departures=(published_corpora.NEWS20_HEADERS,),
    scales={
        "smoke": paper.Scale(
            (*paper.SMOKE, Change("max_tokens", 16, "a short path")), (0,), "a minute"
        ),
        "small": paper.Scale(
            (
                paper.MINILM,
                Change("rounds", 15, _LENGTH),
                Change("client_epochs", 1, _LENGTH),
                Change("max_tokens", 64, _LENGTH),
                Change("max_test_examples", 1000, _LENGTH),
            ),
            (0, 1),
            "20 minutes",
        ),
        "full": paper.Scale((), (0, 1, 2), "hours"),
    },
)
