"""HTML entities in a graph, against Python's `html.unescape`."""

import html

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_nlp.models import html_entities

decode = tf.function(
    html_entities.decode, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
)
PARTS = st.sampled_from(
    ["&", "#", "x", "X", ";", "amp", "lt", "not", "notin;", "39", "0", "1F600", "D800", "FFFE"]
    + ["&amp;", "&lt", "&#", "&#x", "AMP", "9999999", "123456789012", "128", " ", "a", "é", "\n"]
)


def decoded(texts):
    return [text.decode() for text in decode(tf.constant(texts, tf.string)).numpy()]


@pytest.mark.thorough
@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(PARTS, max_size=8).map("".join), max_size=5))
def test_equals_html_unescape(texts):
    assert decoded(texts) == [html.unescape(text) for text in texts]


def test_all_named_and_special_numbered_entities():
    numbers = [
        *range(0x120),
        *range(0xD7F0, 0xE010),
        *range(0xFDC0, 0xFE00),
        *range(0xFFF0, 0x10010),
        *range(0x10FFF0, 0x110010),
    ]
    texts = [f"x&{name}y" for name in html.entities.html5]
    texts += [f"&#{number};" for number in numbers] + [f"&#x00{number:x}z" for number in numbers]
    assert decoded(texts) == [html.unescape(text) for text in texts]
