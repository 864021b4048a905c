"""The sentence about tokens that a model does not read."""

from tff_nlp.models.token_counts import TokenCounts, count_html_entities


def test_shares():
    counts = TokenCounts(texts=200, texts_cut=50, tokens=1000, tokens_dropped=200, tokens_unknown=8)
    assert counts.line(64) == (
        "25.0% of 200 texts are longer than `max_tokens`=64, 20.0% of all tokens are not read;"
        " 1.0% of those read are unknown"
    )
    assert TokenCounts(0, 0, 0, 0, 0).line(64).startswith("0.0% of 0 texts")


def test_html_entities():
    assert count_html_entities(["a &amp; b", "AT&T", "x &#39; y &lt;", "&", ""]) == 2
