"""Label maps, the order of labels, and labels that train and test share."""

import pytest

from tff_nlp.corpora.assemble import order_labels
from tff_nlp.corpora.load import load_corpus
from tff_nlp.corpora.source import CorpusSource, parse_label_map
from tff_nlp.errors import UserError

STARS = "1:negative,2:negative,3:drop,4:positive,5:positive"


@pytest.fixture
def stars(tmp_path):
    path = tmp_path / "stars.csv"
    path.write_text("text,label\n" + "".join(f"text {n},{n}\n" for n in (5, 1, 3, 4, 2)))
    return str(path)


def load(path, names=None, **flags):
    return load_corpus(CorpusSource(path, text_column="text", label_column="label", **flags), names)


def test_map_renames_drops_and_orders(stars):
    loaded = load(stars, label_map=STARS)
    assert loaded.corpus.label_names == ("negative", "positive")
    assert loaded.corpus.labels.tolist() == [1, 0, 1, 0]
    assert loaded.report.dropped_by_label_map == 1
    assert loaded.report.rows_read == 5
    reverse = load(stars, label_map="5:good,4:good,*:bad").corpus
    assert reverse.label_names == ("good", "bad")
    assert reverse.labels.tolist() == [0, 1, 1, 0, 1]


def test_unmapped_label_names_file_and_row(stars):
    with pytest.raises(UserError, match=r"stars.csv, line 4: label_map has no entry.*'3'"):
        load(stars, label_map="1:a,2:a,4:b,5:b", bad_rows="skip")


def test_json_map_for_names_with_commas():
    assert parse_label_map('{"a,b": "x", "c:d": "drop"}') == {"a,b": "x", "c:d": "drop"}
    assert parse_label_map("3:30:late, 4:00:early") == {"3:30": "late", "4:00": "early"}


@pytest.mark.parametrize(
    "flag", ["a", "a:b,a:c", ":b", "a:", "a:drop", '{"a": 1}', '{"a"', "a:b,,c"]
)
def test_malformed_maps_are_refused(flag):
    with pytest.raises(UserError, match="label_map="):
        CorpusSource("x.csv", label_map=flag)


def test_order_of_labels(stars):
    assert order_labels(["10", "9", "-1"]) == ("-1", "9", "10")
    assert order_labels(["b", "10", "a"]) == ("10", "a", "b")
    assert load(stars).corpus.label_names == ("1", "2", "3", "4", "5")


def test_test_corpus_takes_the_labels_of_train(stars, tmp_path):
    names = load(stars, label_map=STARS).corpus.label_names
    path = tmp_path / "test.csv"
    path.write_text("text,label\nfine,4\n")
    test = load(str(path), names, label_map=STARS).corpus
    assert test.label_names == names
    assert test.labels.tolist() == [1]
    path.write_text("text,label\nfine,positive\nso so,neutral\n")
    with pytest.raises(
        UserError, match=r"test.csv, line 3: the training corpus has no .*'neutral'"
    ):
        load(str(path), names)


@pytest.mark.parametrize(
    "flags",
    [
        {"path": ""},
        {"format": "xml"},
        {"quoting": "maybe"},
        {"bad_rows": "ignore"},
        {"missing_client": "drop"},
        {"encoding": "utf-99"},
        {"encoding": "base64"},
        {"encoding": ","},
        {"delimiter": "ab"},
    ],
)
def test_wrong_values_are_refused_before_reading(flags):
    with pytest.raises(UserError, match="^(corpus is needed|[a-z_]+=.+: |delimiter)"):
        CorpusSource(**{"path": "x.csv", **flags})
