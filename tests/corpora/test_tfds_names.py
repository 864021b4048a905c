"""Data sets of TensorFlow Datasets by name. They are built here; nothing is downloaded."""

import pathlib

import numpy as np
import pytest

from tff_nlp.corpora import names
from tff_nlp.corpora.load import load_corpus, load_train_and_test
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets")
if not hasattr(tfds, "builder"):
    # If its import fails, the package only logs the error and is then left without functions.
    pytest.skip("tensorflow-datasets does not work here", allow_module_level=True)


def builder(class_name, features, splits):
    """Makes a TFDS builder class. This also registers its name."""

    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        if splits is None:
            raise ConnectionError("the network is unreachable\nsecond line")
        return {name: enumerate(rows) for name, rows in splits.items()}

    body = {
        "VERSION": tfds.core.Version("1.0.0"),
        "_info": _info,
        "_split_generators": _split_generators,
        "_generate_examples": None,
        # TFDS looks for a README there.
        "pkg_dir_path": pathlib.Path(__file__).parent,
        "__module__": __name__,
    }
    return type(class_name, (tfds.core.GeneratorBasedBuilder,), body)


TEXT = tfds.features.Text()
builder(
    "MadeReviews",
    {"title": TEXT, "body": TEXT, "label": tfds.features.ClassLabel(names=["pos", "neg"])},
    {
        "train": [
            {"title": "A", "body": "good \u00e9", "label": 0},
            {"title": "", "body": "bad", "label": 1},
        ],
        "unlabelled": [{"title": "A", "body": "which", "label": -1}],
    },
)
builder(
    "MadeTweets",
    {"polarity": tfds.features.Scalar(dtype=np.int32), "text": TEXT, "user": TEXT},
    {
        "train": [
            {"polarity": 4, "text": "great", "user": "ann"},
            {"polarity": 0, "text": "awful", "user": "bob"},
        ],
        "test": [
            {"polarity": 2, "text": "so so", "user": "ann"},
            {"polarity": 4, "text": "fine", "user": "cat"},
        ],
    },
)
builder("MadeUnreachable", {"text": TEXT, "label": TEXT}, None)


def source(tmp_path, path, **flags):
    return CorpusSource(path, data_dir=str(tmp_path), **flags)


def test_features_become_columns(tmp_path):
    flags = {"text_column": "title,body", "label_column": "label"}
    loaded = load_corpus(source(tmp_path, "tfds:made_reviews", **flags))
    assert loaded.corpus.texts == ("A good \u00e9", "bad")
    assert loaded.corpus.label_names == ("pos", "neg")
    assert loaded.corpus.labels.tolist() == [0, 1]
    assert loaded.corpus.authors is None
    assert loaded.report.files == ("tfds:made_reviews (train)",)
    renamed = load_corpus(
        source(tmp_path, "tfds:made_reviews", label_map="neg:bad,pos:good", **flags)
    )
    assert renamed.corpus.label_names == ("bad", "good")
    assert renamed.corpus.labels.tolist() == [1, 0]


def test_settings_of_sentiment140(tmp_path, monkeypatch):
    known = names.NAMES["sentiment140"]
    monkeypatch.setitem(names.NAMES, "made_tweets", known)
    both = load_train_and_test(source(tmp_path, "made_tweets"))
    train, test = both.train.corpus, both.test
    assert train.label_names == ("negative", "positive")
    assert train.labels.tolist() == [1, 0]
    assert train.authors == ("ann", "bob")
    assert test.corpus.texts == ("fine",)
    assert test.report.dropped_by_label_map == 1
    assert test.corpus.label_names == train.label_names


@pytest.mark.parametrize("name", [n for n, k in names.NAMES.items() if k.kind == "tfds"])
def test_known_names_fit_the_declared_features(name, tmp_path):
    known = names.NAMES[name]
    features = tfds.builder(name, data_dir=str(tmp_path)).info.features
    for column in filter(None, (known.text_column, known.label_column, known.client_column)):
        assert column in features
    declared = getattr(features[known.label_column], "names", None)
    if known.label_map and declared:
        mapped = [entry.split(":")[0] for entry in known.label_map.split(",")]
        assert mapped == declared


@pytest.mark.parametrize(
    ("path", "flags", "message"),
    [
        ("tfds:no_such_set", {}, "corpus=tfds:no_such_set: .*not found"),
        ("tfds:made_reviews", {}, "text_column is needed.*features are title, body, label"),
        ("tfds:made_reviews", {"text_column": "text"}, "text_column=text: no such feature"),
        (
            "tfds:made_reviews",
            {"text_column": "body", "label_column": "label", "split": "dev"},
            "split=dev: made_reviews has the splits train, unlabelled",
        ),
        (
            "tfds:made_reviews",
            {"text_column": "body", "label_column": "label", "split": "unlabelled"},
            "example 0: missing label",
        ),
        (
            "tfds:made_unreachable",
            {"text_column": "text", "label_column": "label"},
            "cannot be downloaded.*ConnectionError: the network is unreachable",
        ),
    ],
)
def test_each_mistake_is_one_line(tmp_path, path, flags, message):
    with pytest.raises(UserError, match=message) as raised:
        load_corpus(source(tmp_path, path, **flags))
    assert "\n" not in str(raised.value)


def test_labels_are_not_needed(tmp_path):
    source = CorpusSource(
        "tfds:made_reviews", text_column="body", data_dir=str(tmp_path), labelled=False
    )
    corpus = load_corpus(source).corpus
    assert corpus.texts == ("good \u00e9", "bad")
    assert not corpus.is_labelled
