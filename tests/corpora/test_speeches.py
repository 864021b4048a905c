"""Speeches are read with their speakers, from text and from XML."""

import pytest

from tff_nlp.corpora.load import load_corpus, load_train_and_test
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError

TALK = """
First Guest:
Is it late?
It is: late.

HOST:
  No.\t

First Guest:
Then stay!
"""
PLAY = """<?xml version="1.0"?>
<PLAY><TITLE>A Play</TITLE><ACT>
<SPEECH><SPEAKER>HOST</SPEAKER>
<LINE>Come &amp; see,</LINE>
<LINE><STAGEDIR>Aside</STAGEDIR>  or stay  <STAGEDIR>goes</STAGEDIR> away.</LINE></SPEECH>
<STAGEDIR>Exit</STAGEDIR>
<SPEECH>
<SPEAKER>FIRST GUEST</SPEAKER>
<SPEAKER>SECOND GUEST</SPEAKER>
<LINE>We will.</LINE>
</SPEECH></ACT></PLAY>
"""


def load(path, **flags):
    return load_corpus(CorpusSource(path, labelled=False, **flags))


def test_speeches(write):
    loaded = load(write(TALK, "talk.txt"), format="speeches")
    corpus = loaded.corpus
    assert corpus.texts == ("Is it late?\nIt is: late.", "No.", "Then stay!")
    assert corpus.authors == ("First Guest", "HOST", "First Guest")
    assert not corpus.is_labelled
    assert corpus.label_names == ()
    assert corpus.label_counts().tolist() == []
    assert loaded.report.rows_kept == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("HOST:\nYes.\n\nNo name\nhere.\n", "talk.txt, line 4: malformed record .*'Speaker:'"),
        (":\nYes.\n", "line 1: malformed record"),
        ("HOST:\n\nGUEST:\nYes.\n", "line 1: empty text"),
        ("", "no usable rows: empty"),
    ],
)
def test_malformed_speeches(write, content, message):
    path = write(content, "talk.txt")
    with pytest.raises(UserError, match=message):
        load(path, format="speeches")


def test_bad_speeches_can_be_skipped(write):
    path = write("HOST:\n\nGUEST:\nYes.\n\nno name\n", "talk.txt")
    loaded = load(path, format="speeches", bad_rows="skip")
    assert loaded.corpus.texts == ("Yes.",)
    assert loaded.report.skipped == {"empty text": 1, "malformed record": 1}


def test_plays(write):
    corpus = load(write(PLAY, "play.xml")).corpus
    assert corpus.texts == ("Come & see,\nor stay away.", "We will.")
    assert corpus.authors == ("HOST", "FIRST GUEST and SECOND GUEST")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PLAY[:-20], "play.xml: not XML: "),
        ("<PLAY/>", "play.xml: format=plays: it has no SPEECH"),
        ("", "play.xml: not XML"),
        ('<?xml version="1.0" encoding="nonsense"?><P/>', "not XML: unknown encoding: nonsense"),
        ('<?xml version="1.0" encoding="gb2312"?><P/>', "not XML: multi-byte encodings are not"),
        ("<P><SPEECH><LINE>x</LINE></SPEECH></P>", "play.xml, speech 1: missing client"),
        ("<P><SPEECH><SPEAKER>X</SPEAKER></SPEECH></P>", "play.xml, speech 1: empty text"),
    ],
)
def test_malformed_plays(write, content, message):
    path = write(content, "play.xml")
    with pytest.raises(UserError, match=message) as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_play_that_would_fill_the_memory(write):
    """Nested XML entities would grow exponentially (the "billion laughs" attack)."""
    entities = "".join(
        f'<!ENTITY e{level} "{f"&e{level - 1};" * 10 if level else "ha" * 10}">'
        for level in range(10)
    )
    play = f"<!DOCTYPE P [{entities}]><P><SPEECH><LINE>&e9;</LINE></SPEECH></P>"
    with pytest.raises(UserError, match="not XML: .*amplification"):
        load(write(play, "play.xml"))


def test_labels_and_columns_are_refused(write):
    path = write(PLAY, "play.xml")
    with pytest.raises(UserError, match="play.xml: speeches have no labels"):
        load_corpus(CorpusSource(path))
    for flag in ("text_column", "client_column"):
        with pytest.raises(UserError, match=f"{flag}=x: .*its clients are the speakers"):
            load(path, **{flag: "x"})


def test_train_and_test(write):
    path = write("".join(f"S{i % 3}:\nspeech number {i}\n\n" for i in range(20)), "talk.txt")
    both = load_train_and_test(CorpusSource(path, format="speeches", labelled=False))
    assert (len(both.train.corpus), len(both.test.corpus)) == (16, 4)
    assert not set(both.train.corpus.texts) & set(both.test.corpus.texts)
    assert not both.test.corpus.is_labelled
