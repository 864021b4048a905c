"""Public texts of a run: read like a test corpus without labels, or set apart."""

import numpy as np
import pytest

from tff_nlp import errors
from tff_nlp.runs import configs, data


def write(path, texts, labels=None):
    rows = texts if labels is None else [f"{t},{y}" for t, y in zip(texts, labels, strict=True)]
    path.write_text("\n".join(["text" if labels is None else "text,label", *rows]) + "\n")
    return str(path)


@pytest.fixture
def corpus(tmp_path):
    texts = [f"text {row}" for row in range(60)]
    train = write(tmp_path / "train.csv", texts, ["pos" if row % 2 else "neg" for row in range(60)])
    test = write(tmp_path / "test.csv", ["this one", "that one"], ["pos", "neg"])
    return configs.CorpusConfig(corpus=train, test_corpus=test)


def load(corpus, **public):
    return data.load_data(corpus, 0, public=configs.DistillationConfig(**public))


def test_texts_need_no_labels_and_those_of_the_test_are_dropped(corpus, tmp_path):
    path = write(tmp_path / "public.csv", ["this  ONE", *(f"other {row}" for row in range(9))])
    texts = load(corpus, public_corpus=path)
    assert len(texts.train) == 60
    assert set(texts.public.texts) == {f"other {row}" for row in range(9)}
    assert not texts.public.is_labelled
    said = "\n".join(texts.describe())
    assert "1 public rows with a text of the test corpus: dropped" in said
    assert "9 public texts" in said
    assert texts.fingerprints()["public_corpus (fingerprint)"] == texts.public.fingerprint


def test_labels_in_the_file_are_not_read(corpus, tmp_path):
    path = write(tmp_path / "public.csv", ["one", "two"], ["never", "seen"])
    assert load(corpus, public_corpus=path).public.texts == ("one", "two")


def test_random_ones_of_many(corpus, tmp_path):
    path = write(tmp_path / "public.csv", [f"other {row}" for row in range(50)])
    texts = load(corpus, public_corpus=path, public_examples=20).public.texts
    assert len(set(texts)) == 20
    assert texts == load(corpus, public_corpus=path, public_examples=20).public.texts


def test_some_training_texts_are_set_apart(corpus):
    texts = load(corpus)
    assert len(texts.public) == 6 and len(texts.train) == 54
    assert set(texts.public.texts).isdisjoint(texts.train.texts)
    assert np.all(texts.train.label_counts() > 0)
    assert "6 training texts are set apart as public texts" in "\n".join(texts.describe())
    assert len(load(corpus, public_examples=4).public) == 4


def test_without_distillation_nothing_is_set_apart(corpus):
    texts = data.load_data(corpus, 0)
    assert texts.public is None and len(texts.train) == 60
    assert len(texts.fingerprints()) == 2


def test_mistakes(corpus, tmp_path):
    with pytest.raises(errors.UserError, match="public_corpus"):
        load(corpus, public_corpus=str(tmp_path / "none.csv"))
    path = write(tmp_path / "public.csv", ["this one", "that one"])
    with pytest.raises(errors.UserError, match="public_corpus=.*also in the test corpus"):
        load(corpus, public_corpus=path)
    tiny = write(tmp_path / "tiny.csv", ["a", "b"], ["pos", "neg"])
    flags = configs.CorpusConfig(corpus=tiny, test_corpus=corpus.test_corpus)
    with pytest.raises(errors.UserError, match="public_corpus: must be given"):
        load(flags)
    with pytest.raises(errors.UserError, match="public_examples=0"):
        configs.DistillationConfig(public_examples=0)
