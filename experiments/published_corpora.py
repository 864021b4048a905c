"""Corpora that several papers use: how to read them, and where they come from."""

from collections.abc import Mapping
from typing import Any

from tff_nlp.runs import paper

_GLUE = "https://dl.fbaipublicfiles.com/glue/data"
_NEWS = "http://qwone.com/~jason/20Newsgroups/20news-bydate.tar.gz"
_NEWS_TRAIN, _NEWS_TEST = (f"20news-bydate/20news-bydate-{part}/*/*" for part in ("train", "test"))

NEWS20: Mapping[str, Any] = {
    "corpus": _NEWS_TRAIN,
    "test_corpus": _NEWS_TEST,
    "format": "documents",
    "label_column": "@folder",
    "encoding": "utf-8,latin-1",
}
NEWS20_FILES = (paper.File(_NEWS_TRAIN, _NEWS), paper.File(_NEWS_TEST, _NEWS))
NEWS20_HEADERS = paper.Departure(
    "headers of messages",
    "its loader removes some",
    "all stay",
    "a message is a file; From: and Subject: tell something about the group",
)
NEWS20_ROWS = paper.Change("bad_rows", "skip", "some messages are empty")

SST2: Mapping[str, Any] = {
    "corpus": "SST-2/train.tsv",
    "test_corpus": "SST-2/dev.tsv",
    "quoting": "none",
    "text_column": "sentence",
    "label_column": "label",
    "label_map": "0:negative,1:positive",
}
SST2_FILES = tuple(paper.File(f"SST-2/{p}.tsv", f"{_GLUE}/SST-2.zip") for p in ("train", "dev"))

RTE: Mapping[str, Any] = {
    "task": "pairs",
    "quoting": "none",
    "corpus": "RTE/train.tsv",
    "test_corpus": "RTE/dev.tsv",
    "text_column": "sentence1",
    "second_text_column": "sentence2",
    "label_column": "label",
}
RTE_FILES = tuple(paper.File(f"RTE/{p}.tsv", f"{_GLUE}/RTE.zip") for p in ("train", "dev"))

MRPC: Mapping[str, Any] = {
    "task": "pairs",
    "quoting": "none",
    "corpus": "MRPC/msr_paraphrase_train.txt",
    "test_corpus": "MRPC/msr_paraphrase_test.txt",
    "format": "tsv",
    "text_column": "#1 String",
    "second_text_column": "#2 String",
    "label_column": "Quality",
    "label_map": "0:different,1:paraphrase",
    "bad_rows": "skip",
}
MRPC_FILES = tuple(
    paper.File(
        f"MRPC/msr_paraphrase_{part}.txt",
        f"https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_{part}.txt",
    )
    for part in ("train", "test")
)
