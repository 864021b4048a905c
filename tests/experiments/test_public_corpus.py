"""A run that distils on the texts of a real corpus that have no labels."""

import csv
import json

import pytest


@pytest.mark.slow
def test_clients_send_their_logits_on_real_texts(tmp_path, run_train, shared_corpora):
    folder = shared_corpora / "sst2_glue"
    ended = run_train(
        tmp_path / "run",
        corpus=folder / "train.tsv",
        test_corpus=folder / "dev.tsv",
        # It has no column of labels.
        public_corpus=folder / "test.tsv",
        public_examples=100,
        text_column="sentence",
        label_column="label",
        quoting="none",
        max_train_examples=2000,
        algorithm="fedmd",
        client_learning_rate=0.01,
        rounds=2,
    )
    assert ended.code == 0, ended.err
    assert "100 public texts" in ended.out
    sent = json.loads((tmp_path / "run" / "result.json").read_text())["bytes_per_client"]
    assert sent["up"] == 100 * 2 * 4
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["train_non_finite_clients"] for row in rows] == ["0", "0"]
    # The server's model has learned from the clients alone.
    assert all(float(row["server_update_norm"]) > 0 for row in rows)
