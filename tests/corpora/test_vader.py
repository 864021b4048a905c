"""VADER's ratings: labels, thresholds, sources and fetching, with invented rows."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from tff_nlp.corpora import package_index, vader
from tff_nlp.corpora.load import load_corpus, load_train_and_test
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError

FILES = {
    "tweets_GroundTruth.txt": ["1\t2.5\tyay :)", "2\t-0.5\tmeh &amp; bad", "3\t0.4999\twell"],
    "amazonReviewSnippets_GroundTruth.txt": ["1_1\t0.5\tIt works, mostly."],
    "movieReviewSnippets_GroundTruth.txt": ["1\t-3.875\ta\u00e9 dull film", "2\t-0.49\tlong"],
    "nytEditorialSnippets_GroundTruth.txt": ["1_1\t0.0\tThe vote is on Monday."],
    "tweets_anonDataRatings.txt": ["1\t[1, 2]\tnot ground truth"],
}


def tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, lines in files.items():
            content = "\r\n".join(lines).encode()
            member = tarfile.TarInfo(f"hutto_ICWSM_2014/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A local package index with a source distribution of invented ratings; no other is used."""

    def publish(files=FILES):
        ratings = tar(files)
        folder = tmp_path / "index" / "vadersentiment"
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / "vaderSentiment-0.5.zip", "w") as archive:
            archive.writestr("vaderSentiment-0.5/setup.py", "raise SystemExit('was run')")
            path = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
            archive.writestr(path, ratings)
        sdist = (folder / "vaderSentiment-0.5.zip").read_bytes()
        (folder / "index.html").write_text('<a href="vaderSentiment-0.5.zip">it</a>')
        pinned = package_index.PinnedFile(
            "vadersentiment", "vaderSentiment-0.5.zip", hashlib.sha256(sdist).hexdigest()
        )
        monkeypatch.setattr(vader, "_SDIST", pinned)
        monkeypatch.setattr(vader, "_ARCHIVE_SHA256", hashlib.sha256(ratings).hexdigest())
        return folder

    address = (tmp_path / "index").as_uri()
    monkeypatch.setattr(package_index, "indexes", lambda: [address])
    return publish


@pytest.fixture
def source(tmp_path):
    return lambda **flags: CorpusSource("vader", data_dir=str(tmp_path / "cache"), **flags)


def test_labels_and_sources(index, source):
    index()
    loaded = load_corpus(source())
    found = dict(zip(loaded.corpus.texts, loaded.corpus.labels, strict=True))
    assert loaded.corpus.label_names == ("negative", "positive")
    assert found == {
        "yay :)": 1,
        "meh &amp; bad": 0,
        "It works, mostly.": 1,
        "a\u00e9 dull film": 0,
    }
    assert sorted(loaded.corpus.authors) == ["amazon", "film", "tweets", "tweets"]
    assert (loaded.report.rows_read, loaded.report.dropped_by_label_map) == (7, 3)
    assert any("between -0.5 and 0.5 are neutral" in line for line in loaded.report.lines())
    assert not loaded.corpus.synthetic


def test_thresholds(index, source):
    index()
    wide = load_corpus(source(negative_at_most=-0.49, positive_at_least=0.4)).corpus
    assert wide.label_counts().tolist() == [3, 3]
    with pytest.raises(UserError, match="negative_at_most=0.5: must be below"):
        source(negative_at_most=0.5)
    with pytest.raises(UserError, match="positive_at_least"):
        source(positive_at_least=float("nan"))


def test_neutral_can_be_a_label(index, source):
    index()
    names = "negative:bad,neutral:neither,positive:good"
    corpus = load_corpus(source(label_map=names)).corpus
    assert corpus.label_names == ("bad", "neither", "good")
    assert corpus.label_counts().tolist() == [2, 3, 2]
    assert set(corpus.authors) == {"amazon", "film", "nyt", "tweets"}


def test_a_test_part_is_split_off(index, source):
    rows = [f"{n}\t{'-' if n % 2 else ''}2.0\tsentence {n}" for n in range(40)]
    index({"tweets_GroundTruth.txt": rows})
    both = load_train_and_test(source(), test_fraction=0.25)
    assert (len(both.train.corpus), len(both.test.corpus)) == (30, 10)
    assert both.test.corpus.authors == ("tweets",) * 10


def test_it_is_fetched_once_and_again_if_damaged(index, source, tmp_path):
    folder = index()
    load_corpus(source())
    cached = tmp_path / "cache" / "vader" / "hutto_ICWSM_2014.tar.gz"
    before = cached.stat()
    sdist = folder / "vaderSentiment-0.5.zip"
    content = sdist.read_bytes()
    sdist.unlink()
    load_corpus(source())
    assert cached.stat().st_mtime_ns == before.st_mtime_ns
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(UserError, match="corpus=synthetic needs none"):
        load_corpus(source())
    sdist.write_bytes(content)
    assert len(load_corpus(source()).corpus) == 4


def test_another_file_of_the_same_name_is_refused(index, source, tmp_path):
    folder = index()
    with (folder / "vaderSentiment-0.5.zip").open("ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match="has another checksum") as raised:
        load_corpus(source())
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "cache" / "vader").exists()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1\tgood\ttext", "the rating 'good' is not a number"),
        ("1\t2.0", "2 instead of id, rating and text"),
        ("1\t2.0\t ", "empty text"),
    ],
)
def test_rows_that_cannot_be_used(index, source, row, reason):
    index({"tweets_GroundTruth.txt": ["1\t-1\tno", "2\t1\tyes", row]})
    with pytest.raises(UserError, match=reason) as raised:
        load_corpus(source())
    assert "tweets_GroundTruth.txt, line 3" in str(raised.value)
    skipped = load_corpus(source(bad_rows="skip"))
    assert len(skipped.corpus) == 2


@pytest.mark.parametrize(
    "flags", [{"text_column": "body"}, {"label_column": "stars"}, {"client_column": "user"}]
)
def test_unknown_columns_are_one_line(source, flags):
    [(name, value)] = flags.items()
    with pytest.raises(UserError, match=f"{name}={value}: corpus=vader has only"):
        load_corpus(source(**flags))
