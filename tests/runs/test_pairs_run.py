"""Sentence pairs through the front door: trained, scored, predicted and exported."""

import csv

import numpy as np
import pytest

import tff_nlp
from tff_nlp.serving import predictor

WORDS = {"yes": "sunny warm bright", "no": "rainy cold dark"}


def write_pairs(path):
    """Pairs whose first texts say nothing: only who reads the second ones can learn them."""
    rng = np.random.default_rng(1)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["premise", "hypothesis", "answer"])
        for number in range(120):
            answer = ("yes", "no")[number % 2]
            word = rng.choice(WORDS[answer].split())
            rows.writerow([f"the day {number % 7}", f"it is {word} {number}", answer])


@pytest.mark.slow
def test_pairs_are_learned_predicted_and_exported(tmp_path):
    write_pairs(tmp_path / "pairs.csv")
    corpus = tff_nlp.read_corpus(
        tmp_path / "pairs.csv",
        text_column="premise",
        second_text_column="hypothesis",
        label_column="answer",
    )
    train, test = tff_nlp.split_corpus(corpus)
    classifier = tff_nlp.build_classifier(
        train,
        encoder="random",
        encoder_layers=1,
        encoder_width=32,
        max_tokens=16,
        dropout=0.0,
        vocabulary_size=200,
        cache_dir=tmp_path / "cache",
    )
    assert classifier.task.name == "pairs" and classifier.model.reads_pairs
    assert "sunny" in classifier.model.tokenizer.vocabulary  # Also of second texts.
    trained = tff_nlp.train(
        tff_nlp.fed_avg(classifier.task, tff_nlp.LocalWork(tff_nlp.ClientOptimizer("adamw", 0.01))),
        classifier,
        train,
        tff_nlp.partition(train, "iid", num_clients=4),
        rounds=6,
        clients_per_round=4,
        batch_size=8,
    )
    assert trained.evaluate(test).accuracy > 0.9
    asked = [("the day 3", "it is warm"), ("the day 3", "it is dark")]
    found = trained.predict(asked)
    assert [label for label, _ in found] == ["yes", "no"]
    trained.export(tmp_path / "model")
    served = predictor.load(tmp_path / "model").predict(asked)
    assert list(served.labels) == ["yes", "no"]
    shares = served.probabilities.max(axis=1)
    np.testing.assert_allclose(shares, [share for _, share in found], atol=1e-5)

    with pytest.raises(TypeError, match="reads pairs of texts; the texts given are single texts"):
        trained.predict(["it is warm"])
    single = tff_nlp.read_corpus(
        tmp_path / "pairs.csv", text_column="hypothesis", label_column="answer"
    )
    with pytest.raises(tff_nlp.UserError, match="has single texts, but the model reads pairs"):
        trained.evaluate(single)
    with pytest.raises(tff_nlp.UserError, match="has pairs of texts, but the model reads single"):
        tff_nlp.build_language_model(
            train, encoder_layers=1, encoder_width=8, encoder_heads=1, vocabulary_size=280
        )
