"""What a client keeps of what a codec lost."""

import numpy as np
import pytest
import tensorflow as tf

from tests.aggregation.compression import updates
from tff_nlp.aggregation.compression import coding, power_sgd, random_k, rounding, signs, top_k

CODECS = (top_k.TopK(0.05), top_k.TopK(0.05, rounding.Rounding(4)), power_sgd.PowerSgd(2))


@pytest.mark.parametrize("codec", [*CODECS, signs.Signs()])
def test_what_is_sent_and_what_is_kept_add_up_to_all_updates(codec):
    coded, rounds = coding.Coding(codec, 0), 5
    kept = tuple(tf.zeros(shape) for shape in updates.SHAPES)
    send = tf.function(lambda update, lost: coded.send(update, tf.constant(2.0), lost))
    sent, total = 0.0, 0.0
    for seed in range(rounds):
        update = tuple(map(tf.constant, updates.update(seed)))
        encoded, kept = send(update, kept)
        sent += updates.joined(coded.decode(encoded))
        total += updates.joined(update)
    np.testing.assert_allclose(sent + updates.joined(kept), total, atol=1e-4)
    assert np.linalg.norm(updates.joined(kept)) > 0.1


def test_a_client_without_weight_sends_nothing_and_keeps_what_it_had():
    coded = coding.Coding(signs.Signs(), 0)
    lost = tuple(map(tf.constant, updates.update(1)))
    encoded, kept = coded.send(updates.update(0), tf.constant(0.0), lost)
    assert not updates.joined(coded.decode(encoded)).any()
    np.testing.assert_array_equal(updates.joined(kept), updates.joined(lost))


def test_only_what_is_biased_is_kept():
    assert all(coding.Coding(codec, 0).keeps_error for codec in CODECS)
    assert not coding.Coding(CODECS[0], 0, error_feedback=False).keeps_error
    assert not coding.Coding(random_k.RandomK(0.5), 0).keeps_error
    assert not coding.Coding(rounding.Rounding(8), 0).keeps_error
