"""A language model through the front door: trained, scored, continued and exported."""

import math
import types

import pytest
import tensorflow as tf

import tff_nlp
from tests.models import llama_files
from tff_nlp.runs import configs, text_generator

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


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [tff_nlp.fed_avg, tff_nlp.scaffold])
def test_a_llama_from_a_file_is_trained_and_exported(tmp_path, algorithm):
    file = llama_files.write(tmp_path / "tiny.gguf")
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS))
    corpus = tff_nlp.read_corpus(path, format="lines", labelled=False)
    model = tff_nlp.build_language_model(
        corpus, encoder=str(file), trainable="top_1", max_tokens=16, cache_dir=tmp_path / "cache"
    )
    trained = tff_nlp.train(
        algorithm(model.task, tff_nlp.LocalWork(tff_nlp.ClientOptimizer("sgd", 0.1))),
        model,
        corpus,
        tff_nlp.partition(corpus, "iid", num_clients=3),
        rounds=2,
        clients_per_round=2,
        batch_size=4,
        test=corpus,
    )
    assert math.isfinite(trained.scores["test"].perplexity)
    (greedy,) = trained.generate(["the cat"], max_new_tokens=8)
    trained.export(tmp_path / "model")
    exported = tf.saved_model.load(str(tmp_path / "model")).signatures["sample"]
    found = exported(
        texts=tf.constant(["the cat"]),
        max_new_tokens=tf.constant(8),
        top_p=tf.constant(0.0),
        temperature=tf.constant(1.0),
        seed=tf.constant(0, tf.int64),
    )
    assert found["text"].numpy()[0].decode() == greedy


@pytest.mark.parametrize(("max_tokens", "rows"), [(64, 21), (512, 2), (4096, 1), (3, 32)])
def test_the_logits_of_an_evaluation_batch_are_bounded(max_tokens, rows):
    """SmolLM2 has 49,152 tokens, so 2^26 logits are those of 1,365 tokens."""
    model = types.SimpleNamespace(vocabulary_size=49152)
    config = configs.ModelConfig(max_tokens=max_tokens)
    generator = text_generator.TextGenerator(model, None, config, None, None)
    assert generator.evaluation_batch == rows
