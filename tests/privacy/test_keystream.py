"""The keystream against RFC 8439 and the cryptography package."""

import numpy as np
import pytest
import tensorflow as tf
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from tff_nlp.privacy import keystream

KEY, NONCE = bytes(range(32)), bytes.fromhex("000000090000004a00000000")


def words_of(data):
    return np.frombuffer(data, "<u4").astype(np.uint32)


def ours(key, nonce, first, count):
    words = [tf.constant(int(w) - 2**32 * (int(w) >= 2**31), tf.int32) for w in words_of(nonce)]
    drawn = keystream.blocks(tf.constant(words_of(key)), words, first, count)
    return np.transpose(drawn.numpy()).astype("<u4").tobytes()


def test_a_block_is_rfc_8439s():
    """The test vector of RFC 8439, section 2.3.2."""
    expected = (
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )
    assert ours(KEY, NONCE, 1, 1).hex() == expected


@pytest.mark.parametrize("first", [0, 2**31 - 2])
def test_many_blocks_are_the_cryptography_packages(first):
    key, nonce = bytes(reversed(range(100, 132))), b"\xff" * 12
    full = first.to_bytes(4, "little") + nonce
    encryptor = Cipher(algorithms.ChaCha20(key, full), None).encryptor()
    assert ours(key, nonce, first, 70) == encryptor.update(bytes(70 * 64))


def test_integers_have_63_bits_and_normals_their_tail():
    key = tf.constant(words_of(KEY))
    drawn = keystream.expand(key, (0, 0, 0), 50_000, 8, keystream.integers_of, tf.int64).numpy()
    assert drawn.min() >= 0 and drawn.dtype == np.int64
    share = np.mean(drawn[:, np.newaxis] >> np.arange(63) & 1, axis=0)
    assert np.abs(share - 0.5).max() < 5 * 0.5 / np.sqrt(50_000)
    # The smallest uniform number is 2^-65. With numbers of 23 bits, the tail would end at 5.68.
    zero = tf.zeros([16, 1], tf.uint32)
    assert keystream._normals_of(zero).numpy().max() == pytest.approx(np.sqrt(130 * np.log(2)))


def test_no_key_gives_no_normals():
    drawn = keystream.standard_normals(tf.zeros([8], tf.uint32), (0, 0, 0), 9)
    assert np.isnan(drawn).all()
