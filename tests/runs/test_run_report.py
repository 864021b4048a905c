"""report.html of a run, and the tables of single texts in it."""

import numpy as np

from tests.runs.test_pages import Reader
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.runs import example_tables, pages, run_report
from tff_nlp.tasks import classification_scores, language_scores

RESULT = {
    "summary": ["test      accuracy 0.7500", "privacy   epsilon 2"],
    "config": {"rounds": 7, "batch_size": 32, "encoder": "random", "corpus": "a<b>.csv"},
    "bytes_per_client": {"down": 1000, "up": 200, "other_down": 4, "other_up": 40, "once": 5},
    "clients": {"over_clients": {"mean": 0.7, "worst_decile": 0.25, "standard_deviation": 0.125}},
    "versions": {"tensorflow": "2.14.1"},
    "fingerprints": {"train": "abc"},
    "seconds": {"total": 12.5},
}
ROWS = [{"round": "1", "clients": "3"}, {"round": "2", "clients": "2"}]


def corpus(texts, second=None):
    labels = np.zeros(len(texts), np.int32)
    return Corpus("texts", tuple(texts), labels, ("no", "yes"), second_texts=second)


def build(folder, result=RESULT, texts=None):
    page = run_report.build(folder, "reviews", result, ROWS, texts or {})
    reader = Reader()
    reader.feed(page)
    return page, reader


def test_it_says_what_was_run_and_what_was_sent(tmp_path):
    (tmp_path / "curves.png").write_bytes(b"curves")
    page, reader = build(tmp_path)
    images = [found for tag, found in reader.attributes if tag == "img"]
    assert [image["alt"] for image in images] == ["Loss and score over the rounds"]
    assert "http" not in page.replace("http-equiv", "")
    texts = reader.texts
    # Only settings with another value than the default, before all settings.
    first = texts[texts.index("What was run") :]
    changed = first[: first.index("All settings")]
    assert "rounds" in changed and "a<b>.csv" in changed and "batch_size" not in changed
    # 5 updates of 200 bytes, and 5 downloads of 1,000.
    assert "1,000" in texts and "5,000" in texts and "200" in texts
    assert "0.2500" in texts
    assert any(text.startswith("No differential privacy") for text in texts)


def test_it_has_the_privacy_statement_without_single_clients(tmp_path):
    privacy = {
        "line": "epsilon 2 for one client",
        "delta": 1e-5,
        "epsilon_by_client": {"clinic 7": 3.5},
    }
    page, reader = build(tmp_path, {**RESULT, "privacy": privacy})
    assert "epsilon 2 for one client" in reader.texts and "1e-05" in reader.texts
    assert "clinic 7" not in page and "No differential privacy" not in page


def test_central_training_has_no_clients(tmp_path):
    result = {name: value for name, value in RESULT.items() if name != "bytes_per_client"}
    _, reader = build(tmp_path, result)
    assert "Bytes" not in reader.texts and "Privacy" not in reader.texts


def test_the_most_wrong_predictions_are_the_most_certain_ones():
    logits = np.array([[4.0, 0.0], [0.0, 1.0], [0.0, 3.0], [2.0, 0.0]], np.float32)
    scores = classification_scores.score_logits(logits, np.array([0, 0, 0, 1], np.int32), None)
    shares = 1 / (1 + np.exp(-np.array([4.0, 1.0, 3.0, 2.0])))
    np.testing.assert_allclose(scores.shares, shares, rtol=1e-6)
    tables = example_tables.of_labels(scores, corpus(["a", "b", "c\x1b[31m", "d"]), ("no", "yes"))
    wrong = tables["Most wrongly predicted"].rows
    assert [row[3] for row in wrong] == ["c\\x1b[31m", "d", "b"]
    assert wrong[0][:3] == ["no", "yes", "0.953"]
    assert [row[3] for row in tables["Ten test texts"].rows] == ["a", "b", "c\\x1b[31m", "d"]


def test_without_mistakes_there_is_no_table_of_them():
    scores = classification_scores.score_logits(
        np.array([[4.0, 0.0]], np.float32), np.zeros(1, np.int32), None
    )
    tables = example_tables.of_labels(scores, corpus(["a"], ("b",)), ("no", "yes"))
    assert list(tables) == ["Ten test texts"]
    assert tables["Ten test texts"].rows[0][3] == "a / b"


def test_texts_of_a_language_model_have_their_own_perplexity():
    found = np.array([[np.log(2.0) * 3, 3, 1], [np.log(50.0) * 4, 4, 0], [0.0, 0, 0]])
    texts = language_scores.TextSet("test", 3, lambda: [], 100.0)
    scores = language_scores.score(texts, found)
    tables = example_tables.of_perplexities(scores, corpus(["a", "b", ""]))
    assert [row[0] for row in tables["Least expected texts"].rows] == ["50.0", "2.0", "1.0"]
    assert isinstance(tables["Ten test texts"], pages.Table)


def test_many_texts_are_a_sample_that_stays_the_same():
    count = 200
    scores = classification_scores.score_logits(
        np.tile(np.array([[1.0, 0.0]], np.float32), (count, 1)), np.zeros(count, np.int32), None
    )
    texts = corpus([f"text {number}" for number in range(count)])
    first, again = (example_tables.of_labels(scores, texts, ("no", "yes")) for _ in range(2))
    assert first == again and len(first["Ten test texts"].rows) == 10
    assert [row[3] for row in first["Ten test texts"].rows] != [f"text {n}" for n in range(10)]
