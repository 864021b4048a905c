"""Every folder of the shared corpora loads with flags alone, with the counts of its PROVENANCE."""

import re
import time

import pytest
from shared_settings import SETTINGS
from tff_nlp.corpora.load import load_corpus

pytestmark = pytest.mark.corpora


@pytest.mark.parametrize("name", SETTINGS)
def test_counts_of_provenance(name, shared_corpora):
    setting = SETTINGS[name]
    loaded = load_corpus(setting.source(shared_corpora))
    corpus, report = loaded.corpus, loaded.report
    assert report.rows_read == setting.rows
    assert dict(report.skipped) == setting.skipped
    assert len(corpus) == setting.rows - sum(setting.skipped.values())
    if setting.labels is not None:
        assert dict(zip(corpus.label_names, corpus.label_counts())) == setting.labels
        assert list(corpus.label_names) == list(setting.labels)
    assert (corpus.authors is None) == (setting.clients is None)
    if corpus.authors is not None:
        assert len(set(corpus.authors)) == setting.clients
    assert all(text == text.strip() and text for text in corpus.texts)


def test_row_counts_stand_in_the_provenance_files(shared_corpora):
    for name, setting in SETTINGS.items():
        text = (shared_corpora / name.split()[0] / "PROVENANCE.txt").read_text(encoding="utf-8")
        rows = re.search(r"^Rows: (.*)$", text, re.MULTILINE)[1]
        assert re.search(rf"\b{setting.rows}\b", rows), name


def test_every_folder_is_covered(shared_corpora):
    folders = {path.name for path in shared_corpora.iterdir() if path.is_dir()}
    assert folders == {name.split()[0] for name in SETTINGS}


def test_sst2_loads_fast(shared_corpora):
    start = time.process_time()
    load_corpus(SETTINGS["sst2_glue train"].source(shared_corpora))
    assert time.process_time() - start < 2
