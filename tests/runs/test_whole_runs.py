"""A whole run by one call: the same as the script's, with the mistakes of Python's callers."""

import json

import pytest

from tff_nlp.errors import UserError
from tff_nlp.runs import central_run, configs, federated_run


def write_reviews(path):
    rows = [
        f"{word} phone {n},{label}"
        for n in range(40)
        for word, label in (("great", "good"), ("awful", "bad"))
    ]
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    return str(path)


@pytest.fixture
def small(tmp_path):
    """Returns the parts that a federated and a central run share."""
    return {
        "corpus": configs.CorpusConfig(corpus=write_reviews(tmp_path / "reviews.csv")),
        "model": configs.ModelConfig(
            encoder="random", encoder_width=16, encoder_layers=1, max_tokens=8, trainable="head"
        ),
        "place": configs.PlaceConfig(
            output_dir=str(tmp_path / "run"), cache_dir=str(tmp_path / "cache")
        ),
    }


def test_a_federated_run(small, tmp_path, capsys):
    run = configs.FederatedRun(
        **small,
        clients=configs.ClientsConfig(num_clients=4, clients_per_round=2),
        rounds=configs.RoundsConfig(rounds=1),
    )
    federated_run.run(run)
    assert "test      accuracy" in capsys.readouterr().out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["rounds"] == 1
    federated_run.run(run)
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.slow
def test_a_central_run(small, tmp_path):
    central_run.run(configs.CentralRun(**small, central=configs.CentralConfig(epochs=1)))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["task"] == "classification"


def test_a_mistake_names_the_argument(small):
    with pytest.raises(UserError, match="clients_per_round=9: there are only 4"):
        federated_run.run(
            configs.FederatedRun(
                **small, clients=configs.ClientsConfig(num_clients=4, clients_per_round=9)
            )
        )
    with pytest.raises(UserError, match="rounds=0: must be 1 or more"):
        configs.RoundsConfig(rounds=0)
