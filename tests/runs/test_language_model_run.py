"""A language model through the front door: trained, scored, continued and exported."""

import math

import pytest

import tff_nlp

TEXTS = ("the cat sat on the mat", "the dog sat on the log", "the cat saw the dog") * 8


@pytest.mark.slow
def test_a_language_model_learns_generates_and_is_exported(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS))
    corpus = tff_nlp.read_corpus(path, format="lines", labelled=False)
    assert len(corpus) == len(TEXTS) and not corpus.is_labelled
    clients = tff_nlp.partition(corpus, "iid", num_clients=4)
    model = tff_nlp.build_language_model(
        corpus,
        encoder_layers=1,
        encoder_width=32,
        encoder_heads=2,
        vocabulary_size=280,
        max_tokens=24,
        dropout=0.0,
        cache_dir=tmp_path / "cache",
    )
    local = tff_nlp.LocalWork(tff_nlp.ClientOptimizer("adamw", 0.01))
    trained = tff_nlp.train(
        tff_nlp.fed_avg(model.task, local),
        model,
        corpus,
        clients,
        rounds=15,
        clients_per_round=4,
        batch_size=4,
        test=corpus,
        eval_every=15,
    )
    scores = trained.scores["test"]
    assert scores.perplexity < scores.baseline < model.model.vocabulary_size
    assert math.isclose(scores.perplexity, math.exp(scores.loss))
    assert trained.evaluate(corpus).perplexity == scores.perplexity
    assert float(trained.rows[-1]["test_perplexity"]) == scores.perplexity
    (greedy,) = trained.generate(["the cat"], max_new_tokens=8)
    assert trained.generate(["the cat"], max_new_tokens=8) == [greedy]
    trained.export(tmp_path / "model")
    assert (tmp_path / "model" / "info.json").is_file()
