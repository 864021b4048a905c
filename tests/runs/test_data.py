"""From flags to texts: what a person is told before training."""

import numpy as np
import pytest

from tff_nlp import errors
from tff_nlp.corpora import package_index
from tff_nlp.runs import configs, data, reporter
from tff_nlp.tasks import classification_scores as evaluation


def test_a_label_that_no_test_example_has(tmp_path):
    path = tmp_path / "x.csv"
    rows = [f"text {row},{'pos' if row % 2 else 'neg'}\n" for row in range(40)]
    path.write_text("text,label\n" + "".join(rows) + "odd one,Neg\nlast one,sarcasm\n")
    texts = data.load_data(configs.CorpusConfig(corpus=str(path)), seed=0)
    said = "\n".join(texts.describe())
    assert "no test example has the label Neg, sarcasm: it is learned but not tested" in said
    assert "differ in case or blanks only count as different: neg, Neg" in said
    assert "`label_map`=" in said
    # A model that is always right has the best score.
    perfect = np.eye(4, dtype=np.float32)[texts.test.labels]
    assert evaluation.score_logits(perfect, texts.test.labels, None).macro_f1 == 1


def test_a_long_label_is_cut_wherever_it_is_named(tmp_path):
    path = tmp_path / "x.csv"
    rows = [f"text {row},{'1' * 6000 if row % 2 else 'neg'}\n" for row in range(40)]
    path.write_text("text,label\n" + "".join(rows) + f"odd,{'a' * 6000}\n")
    texts = data.load_data(configs.CorpusConfig(corpus=str(path)), seed=0)
    said = texts.describe()
    assert f"{'1' * 37}... 16" in said[-1]
    assert f"labels with one row only: {'a' * 37}..." in said
    assert max(map(len, said)) < 300


def test_a_corpus_to_fetch_is_announced_before_it_is_fetched(tmp_path, capsys, monkeypatch):
    def fetch(_):
        raise package_index.NotFetchedError("no package index is configured")

    monkeypatch.setattr(package_index, "fetch", fetch)
    with pytest.raises(errors.UserError, match="corpus=synthetic needs none"):
        data.load_data(configs.CorpusConfig(corpus="vader"), 0, str(tmp_path))
    assert capsys.readouterr().out.startswith("loading   the sentences of corpus=vader")


def test_lines_are_safe_to_print(capsys):
    reporter.say("corpus", ["a label \x1b[31m\n!"])
    assert capsys.readouterr().out == "corpus    a label \\x1b[31m\\n!\n"
