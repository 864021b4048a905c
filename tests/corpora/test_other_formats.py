"""JSON, LEAF, plain text, documents and pseudo-XML reviews."""

import dataclasses
import json

import pytest

from tff_nlp.corpora.load import load_corpus, load_train_and_test
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


RECORDS = [
    {"text": "good", "stars": 5.0, "user": {"name": "ann"}},
    {"text": "b\ud83d\ude00d", "stars": 1, "user": {"name": "bob"}},
]
FLAGS = {"text_column": "text", "label_column": "stars", "client_column": "user.name"}


def test_json_lines_and_json_list_agree(tmp_path):
    lines = "".join(json.dumps(record) + "\r\n\n" for record in RECORDS)
    paths = [write(tmp_path, "a.jsonl", lines), write(tmp_path, "b.json", lines)]
    paths.append(write(tmp_path, "c.json", json.dumps(RECORDS)))
    paths.append(write(tmp_path, "d.json", json.dumps(RECORDS, indent=2)))
    for path in paths:
        loaded = load_corpus(CorpusSource(path, **FLAGS))
        assert loaded.corpus.texts == ("good", "b\U0001f600d")
        assert loaded.corpus.label_names == ("1", "5")
        assert loaded.corpus.authors == ("ann", "bob")


def test_json_lists_are_numbered(tmp_path):
    path = write(tmp_path, "a.jsonl", '["good", 1]\n["bad", 0]\n')
    corpus = load_corpus(CorpusSource(path, text_column="0", label_column="1")).corpus
    assert corpus.texts == ("good", "bad")


def test_bad_json_rows(tmp_path):
    rows = [
        '{"text": "a", "stars": 1}',
        '{"text": "b", "stars": 2}',
        '{"text": ',
        '{"stars": 1}',
        '{"text": "c", "stars": null}',
        '{"text": "half \\ud83d", "stars": 1}',
        '"text"',
        "[" * 100_000,
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(rows))
    flags = {"text_column": "text", "label_column": "stars"}
    loaded = load_corpus(CorpusSource(path, bad_rows="skip", **flags))
    assert loaded.report.skipped == {
        "malformed JSON": 2,
        "empty text": 1,
        "missing label": 1,
        "undecodable bytes": 1,
        "malformed record": 1,
    }
    with pytest.raises(UserError, match=r"a.jsonl, line 3: malformed JSON"):
        load_corpus(CorpusSource(path, **flags))
    with pytest.raises(UserError, match=r"label_column=star; the row has the keys text, stars"):
        load_corpus(CorpusSource(path, text_column="text", label_column="star"))


def leaf(users):
    data = {user: {"x": [x for x, _ in rows], "y": [y for _, y in rows]} for user, rows in users}
    sizes = [len(rows) for _, rows in users]
    return json.dumps({"users": list(data), "num_samples": sizes, "user_data": data})


def test_leaf_folder_has_its_own_test_part(tmp_path):
    train = [("ann", [(["1", "good"], 1), (["2", "fine"], 1)]), ("bob", [(["3", "bad"], 0)])]
    write(tmp_path, "train/all_data_0.json", leaf(train))
    write(tmp_path, "test/all_data_0.json", leaf([("ann", [(["4", "poor"], 0)])]))
    source = CorpusSource(str(tmp_path), text_column="1", label_map="0:negative,1:positive")
    both = load_train_and_test(source)
    assert both.train.corpus.texts == ("good", "fine", "bad")
    assert both.train.corpus.authors == ("ann", "ann", "bob")
    assert both.train.report.format == "leaf"
    assert both.test.corpus.texts == ("poor",)
    assert both.test.corpus.label_names == both.train.corpus.label_names
    assert "split test" in both.origin
    named = dataclasses.replace(source, flag_prefix="test_")
    assert load_train_and_test(source, named).test.corpus.texts == ("poor",)


def test_leaf_of_plain_texts_and_broken_leaf(tmp_path):
    nobody = leaf([("", [("good", 1), ("bad", 0)])])
    with pytest.raises(UserError, match="user '', example 0: missing client"):
        load_corpus(CorpusSource(write(tmp_path, "nobody.json", nobody)))
    path = write(tmp_path, "a.json", leaf([("ann", [("good", 1), ("bad", 0)])]))
    assert load_corpus(CorpusSource(path)).corpus.texts == ("good", "bad")
    with pytest.raises(UserError, match="text_column=4"):
        load_corpus(CorpusSource(path, text_column="4"))
    with pytest.raises(UserError, match="label_column"):
        load_corpus(CorpusSource(path, label_column="y"))
    broken = '{"users": ["ann"], "num_samples": [1], "user_data": {"ann": {"x": ["a"], "y": []}}}'
    with pytest.raises(UserError, match="user 'ann' has 1 texts and 0 labels"):
        load_corpus(CorpusSource(write(tmp_path, "b.json", broken)))
    lists = write(tmp_path, "c.json", leaf([("ann", [(["4", "poor"], 0)])]))
    with pytest.raises(UserError, match="lists of 2 values; give the number"):
        load_corpus(CorpusSource(lists))
    with pytest.raises(UserError, match="malformed JSON"):
        load_corpus(CorpusSource(write(tmp_path, "d.json", '{"users": ["ann"')))


def test_text_beside_labels_keeps_blank_lines(tmp_path):
    for language in ("de", "fr"):
        write(tmp_path, f"{language}/train_text.txt", "eins\n\nzwei\x85drei\r\n vier ")
        write(tmp_path, f"{language}/train_labels.txt", "0\n1\n2\n0\n")
    source = CorpusSource(
        str(tmp_path / "*" / "train_text.txt"),
        label_file="train_labels.txt",
        client_column="@folder",
        label_map="0:negative,1:neutral,2:positive",
        bad_rows="skip",
    )
    loaded = load_corpus(source)
    assert loaded.corpus.texts == ("eins", "zwei\x85drei", "vier") * 2
    assert loaded.corpus.labels.tolist() == [0, 2, 0] * 2
    assert loaded.corpus.authors == ("de",) * 3 + ("fr",) * 3
    assert loaded.report.skipped == {"empty text": 2}
    assert "no row has the label neutral" in loaded.report.notes


def test_label_files_that_do_not_fit(tmp_path):
    path = write(tmp_path, "text.txt", "a\nb\n")
    write(tmp_path, "labels.txt", "0\n1\n1\n")
    with pytest.raises(UserError, match=r"label_file: .*2 lines, .*labels.txt has 3"):
        load_corpus(CorpusSource(path, label_file="labels.txt"))
    with pytest.raises(UserError, match="test_label_file=no.txt: no such file"):
        load_corpus(CorpusSource(path, label_file="no.txt", flag_prefix="test_"))
    with pytest.raises(UserError, match="is the file of texts itself"):
        load_corpus(CorpusSource(path, label_file="text.txt"))
    with pytest.raises(UserError, match="label_column is needed.*@suffix"):
        load_corpus(CorpusSource(path))
    with pytest.raises(UserError, match="text_column=0: .*plain text without columns"):
        load_corpus(CorpusSource(path, text_column="0", label_column="@stem"))
    two = f"{path},{write(tmp_path, 'more.txt', 'c')}"
    third = write(tmp_path, "x.txt", "c")
    write(tmp_path, "two_labels.txt", "0\n1\n")
    write(tmp_path, "one_label.txt", "0\n")
    labels = "two_labels.txt,one_label.txt"
    assert len(load_corpus(CorpusSource(two, label_file=labels)).corpus) == 3
    with pytest.raises(UserError, match="2 label files for more paths"):
        load_corpus(CorpusSource(f"{two},{third}", label_file=labels))


def test_one_file_per_label(tmp_path):
    write(tmp_path, "rt.pos", "good\nfine\n")
    write(tmp_path, "rt.neg", "bad")
    source = CorpusSource(str(tmp_path / "rt.*"), format="lines", label_column="@suffix")
    corpus = load_corpus(source).corpus
    assert corpus.texts == ("bad", "good", "fine")
    assert [corpus.label_names[label] for label in corpus.labels] == ["neg", "pos", "pos"]


def test_one_file_per_document(tmp_path):
    for label in ("neg", "pos"):
        for number in range(2):
            write(tmp_path, f"{label}/{number}.txt", f"{label} {number}\nsecond line\n")
    source = CorpusSource(str(tmp_path / "*/*.txt"), format="documents", label_column="@folder")
    corpus = load_corpus(source).corpus
    assert corpus.texts[0] == "neg 0\nsecond line"
    assert len(corpus) == 4


def test_reviews_that_are_not_xml(tmp_path):
    record = (
        "<review>\n<rating>\n{}\n</rating>\n<review_text>\nrock & roll \x1a\n\n<br> {}\n"
        "</review_text>\n</review>\n"
    )
    path = write(tmp_path, "all.review", record.format("5.0", "yes") + record.format("1.0", "no"))
    corpus = load_corpus(CorpusSource(path, label_column="rating")).corpus
    assert corpus.texts == ("rock & roll \x1a\n\n<br> yes", "rock & roll \x1a\n\n<br> no")
    assert corpus.label_names == ("1.0", "5.0")
    with pytest.raises(UserError, match="label_column=stars.*rating, review_text"):
        load_corpus(CorpusSource(path, label_column="stars"))
