"""DAGER on a made-up model, whose two layers' inputs are known."""

import numpy as np

from tff_nlp.privacy.inversion import dager, span

WIDTH, TOKENS, MOST = 64, 30, 9
FIRST, LAST = 0, 1


class MadeUp:
    """A second layer whose inputs depend on the whole text, as in an encoder."""

    first_token, last_token, most_tokens = FIRST, LAST, MOST

    def __init__(self):
        generator = np.random.default_rng(0)
        self.table = generator.normal(size=(TOKENS, WIDTH))
        self.places = generator.normal(size=(MOST, WIDTH))
        self.mix = generator.normal(size=(WIDTH, WIDTH)) / 8

    def first_inputs(self, tokens, position):
        return self.table[tokens] + self.places[position]

    def second_inputs(self, texts):
        first = self.table[texts] + self.places[: texts.shape[1]]
        return first + np.tanh(first.mean(axis=1, keepdims=True) @ self.mix) * 3


def seen_of(texts, reader, tokens=None):
    """What a server reads from the gradient of a batch."""
    generator, spans = np.random.default_rng(1), []
    arrays = [np.array([text]) for text in texts]
    for layer in (0, 1):
        inputs = [
            reader.second_inputs(text)[0]
            if layer
            else reader.table[text[0]] + reader.places[: text.shape[1]]
            for text in arrays
        ]
        stacked = np.concatenate(inputs)
        spans.append(span.of(stacked.T @ generator.normal(size=(len(stacked), 80))))
    return dager.Seen(np.arange(TOKENS) if tokens is None else tokens, *spans)


def test_a_single_text_comes_back():
    reader, text = MadeUp(), (FIRST, 7, 3, 3, 9, LAST)
    assert dager.recover(seen_of([text], reader), reader, 1, seed=0) == [text]


def test_texts_of_a_batch_come_back_although_their_tokens_are_mixed():
    reader = MadeUp()
    # No token is at two places: without norms, that would make other texts equally good.
    texts = [(FIRST, 7, 3, 13, 9, LAST), (FIRST, 5, 4, 8, 2, LAST), (FIRST, 6, 12, LAST)]
    found = dager.recover(seen_of(texts, reader), reader, 3, seed=0)
    assert sorted(found) == sorted(texts)


def test_many_mixtures_are_searched_and_not_tried_one_by_one(monkeypatch):
    monkeypatch.setattr(dager, "_TRIED", 700)
    reader = MadeUp()
    texts = [(FIRST, 7, 3, 3, 9, 20, 21, LAST), (FIRST, 5, 4, 8, 2, 22, 23, LAST)]
    texts.append((FIRST, 10, 11, 12, 13, 14, 15, LAST))
    tried = []
    monkeypatch.setattr(
        reader,
        "second_inputs",
        lambda texts: tried.append(len(texts)) or MadeUp.second_inputs(reader, texts),
    )
    found = dager.recover(seen_of(texts, MadeUp()), reader, 3, seed=0)
    # 3^6 mixtures.
    assert sum(tried) < 3000
    assert set(found) & set(texts)


def test_tokens_that_are_known_not_to_be_there_are_not_tried():
    reader, text = MadeUp(), (FIRST, 7, LAST)
    known = np.array([FIRST, LAST, 8])
    assert dager.recover(seen_of([text], reader, known), reader, 1, seed=0) == []


def test_without_spans_nothing_comes_back():
    reader, text = MadeUp(), (FIRST, 7, LAST)
    seen = seen_of([text], reader)
    assert dager.recover(dager.Seen(seen.tokens, None, seen.second), reader, 1, seed=0) == []
    # The first layer alone says which tokens are where.
    alone = dager.Seen(seen.tokens, seen.first, None)
    assert dager.recover(alone, reader, 1, seed=0) == [text]
