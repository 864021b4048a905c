"""Shared corpora load with flags alone and have the counts of their PROVENANCE.txt."""

import dataclasses
import pathlib
import re

import pytest

from tff_nlp.corpora.load import load_corpus
from tff_nlp.corpora.source import CorpusSource

pytestmark = pytest.mark.corpora

SENTIMENT3 = "0:negative,1:neutral,2:positive"
SENTIMENT2 = "0:negative,1:positive"
TOPICS = "1:World,2:Sports,3:Business,4:Sci/Tech"
SAME_TOPICS = "World:World,Sports:Sports,Business:Business,Sci/Tech:Sci/Tech"
LANGUAGES = 8


@dataclasses.dataclass(frozen=True)
class Setting:
    """Flags and the expected counts.

    Attributes:
      flags: Values of the flags, without dashes; `path` is --corpus.
      rows: Number of rows in the files.
      labels: Label -> number of rows that are kept. None if PROVENANCE.txt gives no counts.
      clients: Number of distinct clients, or None for a corpus without clients.
      skipped: Reason -> number of skipped rows.
    """

    flags: dict
    rows: int
    labels: dict
    clients: int | None = None
    skipped: dict = dataclasses.field(default_factory=dict)

    def source(self, folder: pathlib.Path) -> CorpusSource:
        paths = [str(folder / path) for path in self.flags["path"].split(",")]
        return CorpusSource(**{**self.flags, "path": ",".join(paths)})


def _sst2(name: str, rows: int, negative: int, positive: int) -> Setting:
    flags = {
        "path": f"sst2_glue/{name}.tsv",
        "text_column": "sentence",
        "label_column": "label",
        "label_map": SENTIMENT2,
        "quoting": "none",
    }
    return Setting(flags, rows, {"negative": negative, "positive": positive})


def _tweeteval(name: str, rows: int, negative: int, neutral: int, positive: int) -> Setting:
    flags = {
        "path": f"tweeteval_sentiment/{name}_text.txt",
        "label_file": f"{name}_labels.txt",
        "label_map": SENTIMENT3,
    }
    labels = {"negative": negative, "neutral": neutral, "positive": positive}
    return Setting(flags, rows, labels)


def _xlmt(name: str, rows: int) -> Setting:
    flags = {
        "path": f"xlmt_multilingual/*/{name}_text.txt",
        "label_file": f"{name}_labels.txt",
        "label_map": SENTIMENT3,
        "client_column": "@folder",
    }
    third = rows // 3
    labels = {"negative": third, "neutral": third, "positive": third}
    return Setting(flags, rows, labels, LANGUAGES)


def _fdu(name: str, rows: int, labels: dict, skipped: dict) -> Setting:
    flags = {
        "path": f"fdu_mtl_16domains/*.task.{name}",
        "format": "tsv",
        "header": False,
        "quoting": "none",
        "label_column": "0",
        "text_column": "1",
        "client_column": "@stem",
        "encoding": "utf-8,cp1252,latin-1",
        "label_map": SENTIMENT2,
        "bad_rows": "skip",
    }
    return Setting(flags, rows, labels, 16, skipped)


def _leaf(path: str, rows: int, negative: int, positive: int, **flags: str) -> Setting:
    return Setting(
        {"path": path, "text_column": "4", "label_map": SENTIMENT2, **flags},
        rows,
        {"negative": negative, "positive": positive},
        1435,
    )


def _rte(name: str, rows: int, entailment: int, not_entailment: int) -> Setting:
    flags = {
        "path": f"glue_rte/{name}.tsv",
        "text_column": "sentence1",
        "second_text_column": "sentence2",
        "label_column": "label",
        "quoting": "none",
    }
    return Setting(flags, rows, {"entailment": entailment, "not_entailment": not_entailment})


def _mrpc(name: str, rows: int, different: int, paraphrase: int) -> Setting:
    # Fields that hold quotes are quoted, so "none" would see more columns and doubled quotes.
    flags = {
        "path": f"glue_mrpc/msr_paraphrase_{name}.txt",
        "format": "tsv",
        "text_column": "#1 String",
        "second_text_column": "#2 String",
        "label_column": "Quality",
        "label_map": "0:different,1:paraphrase",
    }
    return Setting(flags, rows, {"different": different, "paraphrase": paraphrase})


SETTINGS = {
    "ag_news train": Setting(
        {
            "path": "ag_news/alps_dev.tsv",
            "header": False,
            "quoting": "none",
            "text_column": "0",
            "label_column": "1",
            "label_map": f"{TOPICS},{SAME_TOPICS}",
        },
        10001,
        {"World": 2509, "Sports": 2458, "Business": 2496, "Sci/Tech": 2538},
    ),
    "ag_news test": Setting(
        {
            "path": "ag_news/test.csv",
            "header": False,
            "text_column": "2",
            "label_column": "0",
            "label_map": f"{TOPICS},{SAME_TOPICS}",
        },
        7600,
        {"World": 1900, "Sports": 1900, "Business": 1900, "Sci/Tech": 1900},
    ),
    "airline_tweets by airline": Setting(
        {
            "path": "airline_tweets/Tweets.csv",
            "text_column": "text",
            "label_column": "airline_sentiment",
            "client_column": "airline",
            "strip_prefix": "=",
            "encoding": "utf-8,latin-1",
        },
        14640,
        {"negative": 9178, "neutral": 3099, "positive": 2363},
        6,
    ),
    "airline_tweets by user": Setting(
        {
            "path": "airline_tweets/Tweets.csv",
            "text_column": "text",
            "label_column": "airline_sentiment",
            "client_column": "name",
            "strip_prefix": "=",
            "encoding": "utf-8,latin-1",
        },
        14640,
        {"negative": 9178, "neutral": 3099, "positive": 2363},
        7701,
    ),
    "amazon_beauty_jsonl_gz": Setting(
        {
            "path": "amazon_beauty_jsonl_gz/All_Beauty_5.json.gz",
            "text_column": "reviewText",
            "label_column": "overall",
            "client_column": "reviewerID",
            "bad_rows": "skip",
        },
        5269,
        None,
        # One of the 991 authors wrote only rows without text.
        990,
        {"empty text": 5},
    ),
    "amazon_musical_csv": Setting(
        {
            "path": "amazon_musical_csv/Musical_instruments_reviews.csv",
            "header": False,
            "text_column": "4",
            "label_column": "5",
            "client_column": "0",
            "bad_rows": "skip",
        },
        5050,
        None,
        # One of the 1381 authors wrote only a row without text.
        1380,
        {"empty text": 2},
    ),
    "blitzer_multidomain": Setting(
        {
            "path": "blitzer_multidomain/*/*.review",
            "text_column": "review_text",
            "label_column": "@stem",
            "client_column": "@folder",
        },
        4000,
        {"negative": 2000, "positive": 2000},
        4,
    ),
    "corona_tweets": Setting(
        {
            "path": "corona_tweets/Corona_NLP_test.csv",
            "text_column": "OriginalTweet",
            "label_column": "Sentiment",
            "client_column": "Location",
            "missing_client": "own",
            "label_map": "Extremely Negative:Extremely Negative,Negative:Negative,Neutral:Neutral,"
            "Positive:Positive,Extremely Positive:Extremely Positive",
        },
        3798,
        {
            "Extremely Negative": 592,
            "Negative": 1041,
            "Neutral": 619,
            "Positive": 947,
            "Extremely Positive": 599,
        },
        # Of 1717 locations, 22 differ from another only in blanks and one is a blank; each of the
        # 835 rows without a location is a client of its own.
        1694 + 835,
    ),
    "fdu_mtl_16domains train": _fdu("train", 8000, None, {"empty text": 1}),
    "fdu_mtl_16domains test": _fdu("test", 6400, {"negative": 3169, "positive": 3231}, {}),
    "glue_mrpc train": _mrpc("train", 4045, 1315, 2730),
    "glue_mrpc test": _mrpc("test", 1713, 574, 1139),
    "glue_rte train": _rte("train", 2490, 1249, 1241),
    "glue_rte dev": _rte("dev", 277, 146, 131),
    "imdb_2k_csv": Setting(
        {
            "path": "imdb_2k_csv/imdb.csv",
            "text_column": "reviews",
            "label_column": "labels",
            "label_map": SENTIMENT2,
        },
        2000,
        {"negative": 1000, "positive": 1000},
    ),
    "leaf_sent140_derived train": _leaf("leaf_sent140_derived", 1877, 859, 1018),
    "leaf_sent140_derived test": _leaf("leaf_sent140_derived", 1453, 683, 770, split="test"),
    "leaf_sent140_derived test folder": _leaf("leaf_sent140_derived/test", 1453, 683, 770),
    "rt_polarity": Setting(
        {
            "path": "rt_polarity/rt-polarity.*",
            "format": "lines",
            "label_column": "@suffix",
            "label_map": "neg:negative,pos:positive",
        },
        10662,
        {"negative": 5331, "positive": 5331},
    ),
    "sent140_20k": Setting(
        {
            "path": "sent140_20k/training.1600000.processed.noemoticon.csv",
            "header": False,
            "text_column": "5",
            "label_column": "0",
            "client_column": "4",
            "label_map": "0:negative,2:drop,4:positive",
        },
        20000,
        {"negative": 9999, "positive": 10001},
        18105,
    ),
    "sst2_glue train": _sst2("train", 60614, 26786, 33828),
    "sst2_glue dev": _sst2("dev", 6735, 2994, 3741),
    "sst2_glue test": _sst2("test", 872, 428, 444),
    "tweeteval_sentiment val": _tweeteval("val", 2000, 312, 869, 819),
    "tweeteval_sentiment test": _tweeteval("test", 12284, 3972, 5937, 2375),
    "xlmt_multilingual train": _xlmt("train", 14712),
    "xlmt_multilingual val": _xlmt("val", 2592),
    "xlmt_multilingual test": _xlmt("test", 6960),
    "zh_online_shopping_10cats": Setting(
        {
            "path": "zh_online_shopping_10cats/online_shopping_10_cats.zip",
            "text_column": "review",
            "label_column": "label",
            "client_column": "cat",
            "label_map": SENTIMENT2,
            "bad_rows": "skip",
        },
        62774,
        None,
        10,
        {"empty text": 1},
    ),
    "zh_waimai_10k": Setting(
        {
            "path": "zh_waimai_10k/waimai_10k.csv",
            "text_column": "review",
            "label_column": "label",
            "label_map": SENTIMENT2,
        },
        11987,
        {"negative": 7987, "positive": 4000},
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_counts_of_provenance(name, shared_corpora):
    setting = SETTINGS[name]
    loaded = load_corpus(setting.source(shared_corpora))
    corpus, report = loaded.corpus, loaded.report
    assert report.rows_read == setting.rows
    assert dict(report.skipped) == setting.skipped
    assert len(corpus) == setting.rows - sum(setting.skipped.values())
    if setting.labels is not None:
        assert dict(zip(corpus.label_names, corpus.label_counts(), strict=True)) == setting.labels
        assert list(corpus.label_names) == list(setting.labels)
    assert (corpus.authors is None) == (setting.clients is None)
    if corpus.authors is not None:
        assert len(set(corpus.authors)) == setting.clients
    assert all(text == text.strip() and text for text in corpus.all_texts)
    assert corpus.has_pairs == ("second_text_column" in setting.flags)


def test_row_counts_stand_in_the_provenance_files(shared_corpora):
    for name, setting in SETTINGS.items():
        text = (shared_corpora / name.split()[0] / "PROVENANCE.txt").read_text(encoding="utf-8")
        rows = re.search(r"^Rows: (.*)$", text, re.MULTILINE)[1]
        assert re.search(rf"\b{setting.rows}\b", rows), name


def test_every_setting_has_its_folder(shared_corpora):
    folders = {path.name for path in shared_corpora.iterdir() if path.is_dir()}
    assert {name.split()[0] for name in SETTINGS} <= folders


@pytest.mark.parametrize(
    ("flags", "rows", "skipped", "speakers"),
    [
        ({"path": "input.txt", "format": "speeches"}, 7222, {"empty text": 125}, 299),
        ({"path": "shakespeare.zip/shakespeare/*.xml"}, 6914, {"missing client": 1}, 274),
    ],
)
def test_shakespeare_by_speakers(shared_corpora, flags, rows, skipped, speakers):
    """Both formats are read. The counts are those of the tags and paragraphs in the files."""
    path = str(shared_corpora / "shakespeare" / flags["path"])
    source = CorpusSource(**{**flags, "path": path}, labelled=False, bad_rows="skip")
    loaded = load_corpus(source)
    assert loaded.report.rows_read == rows
    assert dict(loaded.report.skipped) == skipped
    assert len(set(loaded.corpus.authors)) == speakers
    assert not loaded.corpus.is_labelled
