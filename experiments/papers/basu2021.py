"""Federated BERT on tweets about depression, as the paper describes it and as its notebooks run."""

from collections.abc import Sequence

from tff_nlp.runs import accounted, paper

_DP_SGD = "example_level"
_TRAIN_ROWS = 2477
_IID, _SKEWED = "IID", "non-IID"
_DESCRIBED = {"partition": "iid", "num_clients": 10, "clients_per_round": 3, "rounds": 3}
# Every client reads the first rows, and one model goes from client to client. That is one client
# with nine rounds.
_ONE_CLIENT = "its clients all train on the first rows, and one model goes from client to client"
_SEQUENCE = (
    paper.Change("num_clients", 1, _ONE_CLIENT),
    paper.Change("clients_per_round", 1, _ONE_CLIENT),
    paper.Change("rounds", 9, "3 clients in each of 3 rounds, one after another"),
)
_SKEW = {"partition": "shards", "shards_per_client": 10, "max_train_examples": 1000}


def _accuracies() -> Sequence[paper.Cell]:
    """Returns the cells of both modes, with the published numbers of BERT beside them."""
    iid, skewed = 78.35, 77.54
    return (
        paper.Cell("as described", _IID, iid, _DESCRIBED),
        paper.Cell("as described", _SKEWED, skewed, {**_DESCRIBED, **_SKEW}),
        paper.Cell("as run", _IID, iid, _DESCRIBED, (*_SEQUENCE, _rows(247))),
        paper.Cell(
            "as run",
            _SKEWED,
            skewed,
            {**_DESCRIBED, **_SKEW},
            (*_SEQUENCE, _rows(100), paper.Change("partition", "iid", _ONE_CLIENT)),
        ),
    )


def _private() -> Sequence[paper.Cell]:
    settings = {
        **_DESCRIBED,
        "encoder": "distilbert-base-cased",
        "clients_per_round": 5,
        "client_epochs": 3,
        "batch_size": 32,
        "dp": _DP_SGD,
        "clipping_norm": 0.1,
        "target_epsilon": 15.0,
        "delta": 1 / _TRAIN_ROWS,
    }
    return (
        paper.Cell("as described", "accuracy at epsilon 15", 70.92, settings),
        paper.Cell(
            "the most frequent label",
            "accuracy at epsilon 15",
            71.41,
            settings,
            value=lambda result: 100 * float(result["test"]["majority_accuracy"]),
        ),
    )


def _epsilon_as_run() -> float:
    """Returns the epsilon of what the notebook does with its noise for three sampled passes.

    Each of 5 clients in 3 rounds reads all rows three times, with one step per pass.
    """
    return accounted.epsilon_without_sampling(
        15.0,
        sampling_probability=32 / _TRAIN_ROWS,
        planned_steps=3 * _TRAIN_ROWS // 32,
        steps=5 * 3 * 3,
        delta=1 / _TRAIN_ROWS,
    )


def _rows(count: int) -> paper.Change:
    return paper.Change(
        "max_train_examples", count, f"each client has {count} rows, and all have the same ones"
    )


_SLOW = "single gradients take long on a CPU"
_SMALL = (
    paper.MINILM,
    paper.Change("max_tokens", 128, "nearly all tweets are shorter"),
    paper.Change("client_epochs", 1, _SLOW, {"dp": _DP_SGD}),
    paper.Change("clients_per_round", 2, _SLOW, {"dp": _DP_SGD}),
)

PAPER = paper.Paper(
    title="Federated BERT on tweets about depression (Basu et al. 2021)",
    citation=(
        "Basu, Roy, Naidu, Muftuoglu, Singh, Mireshghallah: Benchmarking Differential Privacy and "
        "Federated Learning for BERT Models, 2021, arXiv 2106.13973."
    ),
    source="its table of federated results, and the notebooks of its repository",
    settings={
        "corpus": "dep1_cleaned.csv",
        "text_column": "tweet",
        "label_column": "target",
        "label_map": "0:other,1:depression",
        "bad_rows": "skip",
        "client_test_fraction": 0.0,
        "encoder": "bert_base_en_uncased",
        "max_tokens": 256,
        "batch_size": 4,
        "client_optimizer": "adamw",
        "client_learning_rate": 1e-5,
        "client_epochs": 1,
    },
    files=(
        paper.File(
            "dep1_cleaned.csv",
            "Data/Depression_Data of "
            "https://github.com/whopriyam/Benchmarking-Differential-Privacy-and-Federated-Learning-"
            "for-BERT-Models",
        ),
    ),
    tables=(
        paper.Table(
            title="Accuracy without privacy, beside the paper's BERT",
            rows="mode",
            columns="partition",
            unit="accuracy in %",
            digits=2,
            compares="columns",
            cells=_accuracies(),
        ),
        paper.Table(
            title="DP-SGD at the clients, beside the paper's DistilBERT (IID)",
            rows="mode",
            columns="score",
            unit="accuracy in %",
            digits=2,
            compares="",
            cells=_private(),
        ),
        paper.Table(
            title="The epsilon that holds for what the private notebook does",
            rows="mode",
            columns="stated",
            unit="epsilon at delta 1/2477",
            digits=1,
            compares="",
            cells=(paper.Cell("as run", "epsilon 15", 15.0, compute=_epsilon_as_run),),
        ),
    ),
    findings=(
        "As the notebooks run, IID and non-IID differ only in how many of the same first rows all "
        "clients read, 247 or 100: the published difference of 0.81 points says nothing about "
        "label skew. DPFLBERT_Dep.ipynb, the notebook of the paper's private BERT, loads ALBERT. "
        "In the private notebooks, each client reads all rows three times and takes one step per "
        "pass, with the noise for three passes of sampled batches: the epsilon that holds is not "
        "15.",
    ),
    departures=(
        paper.Departure(
            "averaging, as run",
            "the mean of three snapshots of one model at the end of each round",
            "no mean, the model just goes on",
            "the mean of neighbouring snapshots is close to the middle one",
        ),
        paper.Departure(
            "optimizer, as run",
            "one Adam for all clients and rounds",
            "each client begins with a new Adam",
            "clients do not share the state of an optimizer",
        ),
        paper.Departure(
            "head",
            "a layer of 512 before the output; DistilBERT and ALBERT have 4 or 5 outputs",
            "a layer from the mean of the tokens to 2 outputs",
            "outputs without a label are never right",
        ),
        paper.Departure(
            "the first rows, as run",
            "the first 247 or 100 rows of the training part",
            "as many random rows of it",
            "its order comes from a global random state",
        ),
        paper.Departure(
            "test rows",
            "619 fixed rows",
            "a random fifth, another one for each seed",
            "the notebooks' rows depend on a global random state",
        ),
        paper.Departure(
            "batches of DP-SGD",
            "planned are samples of 32; the notebooks take one step for all rows",
            "Poisson samples of 32 on average",
            "so that the accountant's assumption holds",
        ),
        paper.Departure(
            "accounting of DP-SGD",
            "epsilon counts three passes of sampled batches, once for all clients",
            "epsilon counts all steps of each client in all rounds",
            "a client's rows are used in each round that draws it",
        ),
    ),
    scales={
        "smoke": paper.Scale((*paper.SMOKE, *_SMALL[1:]), (0,), "a minute"),
        "small": paper.Scale(_SMALL, (0, 1), "50 minutes"),
        "full": paper.Scale(
            (paper.Change("encoder", "bert_base_en_uncased", "DistilBERT cannot be loaded"),),
            (0, 1, 2),
            "hours",
        ),
    },
)
