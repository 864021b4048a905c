"""Encrypted sums: exact, of a known size, and unreadable for the server."""

import builtins

import numpy as np
import pytest
import tenseal

from tff_nlp import errors
from tff_nlp.aggregation.encryption import ckks

# The vectors of a round: more numbers than a ciphertext has, and a small modulus.
VECTORS = ((5000, 2**47), (3, 2**20))


@pytest.fixture(scope="module")
def holder():
    return ckks.KeyHolder()


def inputs(count, seed=0):
    generator = np.random.default_rng(seed)
    # So many do not add up to more than the largest sum.
    most = [min(modulus // 2, ckks.LARGEST_SUM // count) for _, modulus in VECTORS]
    return [
        [
            generator.integers(-largest, largest, size) % modulus
            for (size, modulus), largest in zip(VECTORS, most, strict=True)
        ]
        for _ in range(count)
    ]


@pytest.mark.thorough
def test_sums_are_exact_for_all_residues(holder):
    # The largest numbers of either sign, whose errors are the largest.
    clients = inputs(7)
    extreme = [np.full(5000, 2**46 - 1), np.full(3, 2**19 - 1)]
    opposite = [np.full(5000, 2**47 - 2**46), np.full(3, 2**19)]
    for group in (clients, inputs(100), [extreme], [extreme, opposite], [clients[0]]):
        current = ckks.Round(holder, VECTORS)
        for number, tensors in enumerate(group):
            current.add_input(number, tensors)
        sums = zip(current.finish(), zip(*group, strict=True), VECTORS, strict=True)
        for found, parts, (_, modulus) in sums:
            np.testing.assert_array_equal(found, np.sum(parts, axis=0) % modulus)


def test_without_clients_the_sum_is_zero(holder):
    for found, (size, _) in zip(ckks.Round(holder, VECTORS).finish(), VECTORS, strict=True):
        np.testing.assert_array_equal(found, np.zeros(size))


def test_bytes_are_counted_beforehand(holder):
    current = ckks.Round(holder, VECTORS)
    for number, tensors in enumerate(inputs(2)):
        current.add_input(number, tensors)
    packed = [(size, size * 6) for size, _ in VECTORS]
    more, received = ckks.overhead(packed)
    assert current.costs.client_bytes == [more + 5003 * 6] * 2 and received == 0
    assert current.costs.client_bytes[0] == 2 * ckks.CIPHERTEXT_BYTES


def test_the_server_has_no_key_and_the_clients_cannot_read(holder):
    server = tenseal.context_from(holder.for_server())
    clients = tenseal.context_from(holder.for_clients())
    assert not server.has_secret_key() and not clients.has_secret_key()
    assert not server.has_public_key() and clients.has_public_key()
    sent = ckks.Client(holder.for_clients()).encrypt(np.arange(5))
    for context in (server, clients):
        with pytest.raises(ValueError, match="secret_key"):
            tenseal.ckks_vector_from(context, sent[0]).decrypt()
    # Another key does not read it either.
    with pytest.raises(errors.RunError, match="beyond"):
        ckks.KeyHolder().decrypt(sent)


def test_equal_numbers_have_different_ciphertexts(holder):
    client = ckks.Client(holder.for_clients())
    one, other = (client.encrypt(np.arange(5))[0] for _ in range(2))
    assert one != other


def test_a_result_has_no_error_from_which_a_key_could_be_computed(holder):
    """What is decrypted is rounded to whole numbers, and the error is far below a half."""
    client, server = ckks.Client(holder.for_clients()), ckks.Server(holder.for_server())
    numbers = np.random.default_rng(1).integers(-(2**40), 2**40, ckks.SLOTS)
    for _ in range(20):
        server.add(client.encrypt(numbers))
    raw = tenseal.ckks_vector_from(holder._context, server.total()[0]).decrypt()
    error = np.array(raw) * 2**24 - 20.0 * numbers
    assert 0 < np.abs(error).max() < 0.05
    np.testing.assert_array_equal(holder.decrypt(server.total()), 20 * numbers)


def test_a_client_with_another_number_of_ciphertexts_is_told(holder):
    client, server = ckks.Client(holder.for_clients()), ckks.Server(holder.for_server())
    server.add(client.encrypt(np.zeros(1)))
    with pytest.raises(ValueError, match="2 ciphertexts, not 1"):
        server.add(client.encrypt(np.zeros(5000)))


def test_sums_that_would_not_be_exact_are_refused(holder):
    current = ckks.Round(holder, [(3, 2**50)])
    for client in range(4):
        current.add_input(client, [np.array([5, 2**46, 0])])
    with pytest.raises(errors.RunError, match="beyond 2\\^47"):
        current.finish()


def test_without_tenseal_one_line_says_how_to_get_it(monkeypatch):
    present = builtins.__import__

    def absent(name, *rest):
        if name == "tenseal":
            raise ImportError(name)
        return present(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(errors.UserError, match="EXTRAS=ckks scripts/setup"):
        ckks.KeyHolder()
