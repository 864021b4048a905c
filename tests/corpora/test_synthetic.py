"""Generated reviews are reproducible, distinct, different by author, and need the word order."""

import collections
import re

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tff_nlp.corpora.load import load_corpus, load_train_and_test
from tff_nlp.corpora.overlap import normalize
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.corpora.synthetic import SyntheticSettings, generate, parse_settings
from tff_nlp.errors import UserError


@pytest.fixture(scope="module")
def default():
    return load_train_and_test(CorpusSource("synthetic"))


def test_sizes_and_names(default):
    train, test = default.train.corpus, default.test.corpus
    assert (len(train), len(test)) == (6000, 1200)
    assert train.label_names == ("negative", "neutral", "positive")
    assert train.synthetic
    assert test.synthetic
    assert "synthetic" in train.name
    assert len(set(train.authors)) == 120
    assert set(test.authors) <= set(train.authors)
    assert default.train.report.format == "synthetic"


def test_no_text_occurs_twice(default):
    texts = [*default.train.corpus.texts, *default.test.corpus.texts]
    assert len({normalize(text) for text in texts}) == len(texts)
    assert default.overlap.shared_texts == 0


def test_the_corpus_is_the_same_everywhere(default):
    # These change only if the sentences or the generator change. Older runs are then incomparable.
    assert default.train.corpus.fingerprint.startswith("1fe98111bcad14f3")
    assert default.test.corpus.fingerprint.startswith("18c638e6ac556c9c")
    other = load_corpus(CorpusSource("synthetic:seed=1"))
    assert other.corpus.fingerprint != default.train.corpus.fingerprint


def test_sentences_are_well_formed(default):
    for text in default.train.corpus.texts:
        assert not re.search(r"[{}]|  |\b[Aa] [aeio]", text.replace("a one", "")), text
        assert text[-1] in ".!?", text


@pytest.mark.thorough
def test_label_noise_is_as_stated():
    clean = generate(SyntheticSettings(label_noise=0.0), "train")
    noisy = generate(SyntheticSettings(label_noise=0.1), "train")
    assert [review.text for review in clean] == [review.text for review in noisy]
    wrong = [(a.label, b.label) for a, b in zip(clean, noisy, strict=True) if a.label != b.label]
    # Four standard deviations of 6,000 draws.
    assert 0.085 < len(wrong) / len(clean) < 0.115
    assert len(set(wrong)) == 6


@pytest.mark.parametrize(("words", "least", "most"), [(1, 0.80, 0.91), (2, 0.83, 0.94)])
def test_words_alone_are_not_enough(default, words, least, most):
    """A perfect classifier reaches 98 %, and the majority class about 37 %."""
    train, test = default.train.corpus, default.test.corpus
    vectorizer = TfidfVectorizer(ngram_range=(1, words), sublinear_tf=True)
    model = LogisticRegression(C=3.0, max_iter=1000)
    model.fit(vectorizer.fit_transform(train.texts), train.labels)
    accuracy = model.score(vectorizer.transform(test.texts), test.labels)
    assert least < accuracy < most


def test_authors_differ(default):
    train = default.train.corpus
    authors = sorted(set(train.authors))
    rows = np.array([authors.index(author) for author in train.authors])
    counts = np.zeros((len(authors), 3), dtype=int)
    np.add.at(counts, (rows, train.labels), 1)
    assert chi2_contingency(counts)[1] < 1e-6
    sizes = counts.sum(axis=1)
    assert sizes.min() >= 4
    assert sizes.max() > 3 * np.median(sizes)
    words = np.array([len(text.split()) for text in train.texts])
    means = np.array([words[rows == number].mean() for number in range(len(authors))])
    assert means.max() > 2 * means.min()


def test_domain_as_client(default):
    source = CorpusSource("synthetic", client_column="domain")
    corpus = load_corpus(source).corpus
    assert corpus.texts == default.train.corpus.texts
    sizes = collections.Counter(corpus.authors)
    assert len(sizes) == 8
    assert min(sizes.values()) > 200


def test_settings_are_parsed():
    parsed = parse_settings("synthetic:train=200,test=50,authors=10,label_noise=0.2,seed=7")
    assert parsed == SyntheticSettings(200, 50, 10, 0.2, 7)
    corpus = load_corpus(CorpusSource("synthetic:train=200,test=50,authors=10")).corpus
    assert len(corpus) == 200
    assert len(set(corpus.authors)) == 10


@pytest.mark.parametrize(
    ("path", "flags"),
    [
        ("synthetic:size=5", {}),
        ("synthetic:train=many", {}),
        ("synthetic:train=100", {}),
        ("synthetic:test=0", {}),
        ("synthetic:label_noise=0.9", {}),
        ("synthetic", {"split": "dev"}),
        ("synthetic", {"client_column": "user"}),
        ("synthetic", {"text_column": "body"}),
    ],
)
def test_mistakes_are_one_line(path, flags):
    with pytest.raises(UserError, match="^[a-z_]+=.*: ") as raised:
        load_corpus(CorpusSource(path, **flags))
    assert "\n" not in str(raised.value)
