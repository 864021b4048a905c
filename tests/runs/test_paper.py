"""A paper's settings, our changes of them, and the departures that its page names."""

import dataclasses

import pytest

from tff_nlp import errors
from tff_nlp.runs import configs, paper

CELLS = (
    paper.Cell("FedAvg", "IID", 80.0, {"partition": "iid"}),
    paper.Cell(
        "FedAvg",
        "skewed",
        75.0,
        {"partition": "dirichlet", "dirichlet_alpha": 0.1},
        (paper.Change("client_learning_rate", 1e-3, "not stated"),),
    ),
    paper.Cell("central", "IID", 85.0, {"epochs": 3}, is_central=True),
)
PAPER = paper.Paper(
    title="A paper",
    citation="Someone 2020.",
    source="table 1",
    settings={"corpus": "texts/*.csv", "encoder": "bert", "rounds": 100, "batch_size": 32},
    files=(paper.File("texts/*.csv", "https://example.org/texts.zip"),),
    tables=(paper.Table("Table 1", "method", "clients", "%", CELLS),),
    departures=(paper.Departure("head", "two layers", "one layer", "ours has one"),),
    scales={
        "small": paper.Scale(
            (
                paper.Change("encoder", "minilm", "no hub"),
                paper.Change("rounds", 5, "time", {"partition": "dirichlet"}),
                paper.Change("batch_size", 32, "the same"),
            ),
            (0, 1),
            "minutes",
        )
    },
)


def config(cell, tmp_path, seed=0):
    return paper.config_of(
        PAPER, cell, "small", seed=seed, data_dir=tmp_path / "a[b]", output_dir="runs/x"
    )


def test_a_cell_has_the_papers_settings_with_our_changes(tmp_path):
    iid, skewed, central = (config(cell, tmp_path, 7) for cell in CELLS)
    assert isinstance(iid, configs.FederatedRun) and isinstance(central, configs.CentralRun)
    assert (iid.model.encoder, iid.rounds.rounds, iid.client_training.batch_size) == (
        "minilm",
        100,
        32,
    )
    assert (skewed.rounds.rounds, skewed.clients.dirichlet_alpha) == (5, 0.1)
    assert skewed.client_training.client_learning_rate == 1e-3
    assert (central.central.epochs, central.central.seed, iid.rounds.seed) == (3, 7, 7)
    assert iid.place.output_dir == "runs/x"
    # The brackets of the folder are no pattern.
    assert iid.corpus.corpus == f"{tmp_path}/a[[]b]/texts/*.csv"


def test_each_departure_is_named_once_with_its_cells():
    found = {d.what: d for d in paper.departures_of(PAPER, "small")}
    assert list(found) == ["head", "encoder", "client_learning_rate", "rounds"]
    assert (found["encoder"].paper, found["encoder"].here) == ("bert", "minilm")
    assert found["encoder"].cells == ()
    assert found["rounds"].cells == ("1: FedAvg, skewed",)
    assert found["client_learning_rate"].paper == "not stated"


def test_an_option_that_does_not_exist_is_a_mistake():
    wrong = dataclasses.replace(CELLS[0], settings={"partitions": "iid"})
    with pytest.raises(ValueError, match="there is no option partitions"):
        paper.changes_of(PAPER, wrong, "small")


def test_a_missing_corpus_says_where_it_comes_from(tmp_path):
    with pytest.raises(errors.UserError, match="texts/.*csv is missing; it comes from https"):
        paper.check_files(PAPER, tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.csv").write_text("text,label\n")
    paper.check_files(PAPER, tmp_path)
