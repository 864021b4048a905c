"""What a server could learn from all messages that it receives and from its state."""

import numpy as np
import pytest

from tests.aggregation.secure_aggregation.network import Network, payload_of, plain_sums
from tff_nlp.aggregation.secure_aggregation import (
    keys,
    masks,
    messages,
    modular,
    session,
    sharing,
)
from tff_nlp.aggregation.secure_aggregation.client import pair_sign, point
from tff_nlp.aggregation.secure_aggregation.envelope import Kind

LENGTH, MODULUS = 4096, 2**20
VECTORS = (session.Vector(LENGTH, MODULUS), session.Vector(LENGTH, 12 * 2**16))


def received(network, kind):
    """Returns the payloads of one kind that the server received, by sender."""
    found = {}
    for message in network.seen:
        if message[5] == kind:
            found[int.from_bytes(message[38:46], "little")] = payload_of(message)
    return found


def masked_inputs(network):
    return {
        c: messages.decode_vectors(payload, network.session.vectors)
        for c, payload in received(network, Kind.MASKED_INPUT).items()
    }


def inside(value, seen=None):
    """Yields every array, byte string and integer inside of an object, at any depth."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray | bytes | int):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from inside(key, seen)
            yield from inside(item, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from inside(item, seen)
    elif hasattr(value, "__dict__"):
        yield from inside(vars(value), seen)


def chi_square(residues, modulus, cells=12):
    counts = np.bincount((residues.astype(np.uint64) * cells // modulus).astype(int))
    expected = len(residues) / cells
    return float(np.sum((counts - expected) ** 2 / expected))


# The keys are new in each run. With 11 degrees of freedom, the bound is exceeded by chance once in
# 10^9 runs.
UNIFORM = 65.2


@pytest.fixture(scope="module")
def finished():
    """A round of 7 clients. Client 6 drops out after step 2, and client 5 before the last step."""
    network = Network(7, threshold=5, vectors=VECTORS)
    # All inputs are the same small numbers, so that only the masks are random.
    inputs = {c: [np.full(LENGTH, c + 1), np.arange(LENGTH) % 3] for c in network.ids}
    network.advertise()
    network.share()
    network.mask(inputs, without=[6])
    kept = [np.copy(total) for total in network.server._totals]
    state = list(inside(network.server))
    network.check()
    network.sums = network.unmask(without=[5])
    network.inputs, network.kept, network.state = inputs, kept, state
    return network


def test_the_sum_is_right(finished):
    expected = plain_sums(finished.inputs, finished.server.survivors, VECTORS)
    assert [s.tolist() for s in finished.sums] == expected
    assert finished.server.survivors == (0, 1, 2, 3, 4, 5)


def test_each_masked_input_is_uniform_and_independent_of_the_input(finished):
    for client, vectors in masked_inputs(finished).items():
        for masked, vector, plain in zip(vectors, VECTORS, finished.inputs[client], strict=True):
            assert chi_square(masked, vector.modulus) < UNIFORM
            assert np.mean(masked == plain) < 0.01
            # The correlation of independent numbers has a standard deviation of 1 / 64 here.
            if np.ptp(plain):
                assert abs(np.corrcoef(masked, plain)[0, 1]) < 6.1 / 64


def test_the_test_of_uniformity_sees_inputs_that_are_not_masked(finished):
    assert chi_square(finished.inputs[3][0], MODULUS) > 1000


def test_the_state_holds_one_sum_and_no_input(finished):
    arrays = [value for value in finished.state if isinstance(value, np.ndarray)]
    # There is only one running sum per vector, which is masked.
    assert [len(a) for a in arrays] == [LENGTH, LENGTH]
    for total, vector in zip(finished.kept, VECTORS, strict=True):
        assert chi_square(modular.residues(total, vector.modulus), vector.modulus) < UNIFORM
    strings = [value for value in finished.state if isinstance(value, bytes)]
    assert strings
    own = masked_inputs(finished)
    for client, tensors in finished.inputs.items():
        for index, (tensor, vector) in enumerate(zip(tensors, VECTORS, strict=True)):
            plain = modular.from_integers(tensor, vector.modulus)
            assert not any(np.array_equal(a, plain) for a in arrays)
            packed = messages.encode_vectors([plain], [vector])
            assert not any(packed in s for s in [*strings, *map(bytes, finished.seen)])
            # The server does not even keep the masked input of a single client.
            if client in own:
                assert not any(np.array_equal(a, own[client][index]) for a in arrays)


def known_shares(network):
    """Returns the numbers of shares of each client's self seed and mask key at the server."""
    answers = map(messages.decode_unmask_shares, received(network, Kind.UNMASK_SHARES).values())
    counts = {c: [0, 0] for c in network.ids}
    for answer in answers:
        for client in answer.self_seeds:
            counts[client][0] += 1
        for client in answer.mask_keys:
            counts[client][1] += 1
    return counts


def test_for_each_client_the_server_has_shares_of_one_secret_only(finished):
    counts = known_shares(finished)
    # Client 5 did not answer, so there are five shares of each secret.
    assert counts == {c: [5, 0] for c in range(6)} | {6: [0, 5]}


def test_what_the_server_can_reconstruct_leaves_each_input_masked(finished):
    """Each input is still uniform after all masks that the server can compute are removed."""
    answers = {
        point(c): messages.decode_unmask_shares(payload)
        for c, payload in received(finished, Kind.UNMASK_SHARES).items()
    }
    weights = sharing.weights(list(answers))
    round_id = finished.id
    lost = sharing.combine(weights, {p: a.mask_keys[6] for p, a in answers.items()})
    left = {}
    for client, vectors in masked_inputs(finished).items():
        own = sharing.combine(weights, {p: a.self_seeds[client] for p, a in answers.items()})
        public = finished.server._mask_keys[client]
        pair = keys.pair_mask_seed(keys.from_integer(lost), 6, public, client, round_id)
        removed = [
            (keys.self_mask_seed(round_id, client, own), -1),
            (pair, pair_sign(6, client)),
        ]
        masks.apply(vectors, VECTORS, removed)
        left[client] = vectors
        for masked, vector, plain in zip(vectors, VECTORS, finished.inputs[client], strict=True):
            rest = modular.residues(masked, vector.modulus)
            assert chi_square(rest, vector.modulus) < UNIFORM
            assert np.mean(rest == plain) < 0.01
    # This also holds for sums over some of the clients. Only in the sum over all survivors do their
    # pairwise masks cancel.
    for subset, uniform in [((0, 1), True), ((0, 1, 2, 3, 4), True), ((0, 1, 2, 3, 4, 5), False)]:
        total = modular.zeros(VECTORS)
        for client in subset:
            for t, part, vector in zip(total, left[client], VECTORS, strict=True):
                modular.add(t, part, vector.modulus)
        for t, vector in zip(total, VECTORS, strict=True):
            rest = modular.residues(t, vector.modulus)
            assert (chi_square(rest, vector.modulus) < UNIFORM) == uniform


def test_the_same_input_has_other_masks_in_another_session():
    seen = []
    for _ in range(2):
        network = Network(3, vectors=VECTORS)
        inputs = {c: [np.zeros(LENGTH, int)] * 2 for c in network.ids}
        network.advertise()
        network.share()
        network.mask(inputs)
        seen.append(masked_inputs(network)[0][0])
    difference = modular.residues(seen[0] - seen[1], MODULUS)
    assert chi_square(difference, MODULUS) < UNIFORM


def test_after_an_abort_no_secret_can_be_reconstructed():
    network = Network(5, threshold=4, vectors=VECTORS)
    inputs = {c: [np.zeros(LENGTH, int)] * 2 for c in network.ids}
    network.advertise()
    network.share()
    network.mask(inputs)
    network.check()
    for c in range(3):
        message = network.clients[c].unmask(network.signatures)
        network.deliver(network.server.add_unmask_shares, message)
    # With one share less than the threshold, the shares do not combine to the secret.
    answers = {
        point(c): messages.decode_unmask_shares(payload)
        for c, payload in received(network, Kind.UNMASK_SHARES).items()
    }
    assert known_shares(network) == {c: [3, 0] for c in network.ids}
    weights = sharing.weights(list(answers))
    for client in network.ids:
        guess = sharing.combine(weights, {p: a.self_seeds[client] for p, a in answers.items()})
        commitment = keys.commitment(network.id, client, guess)
        assert commitment != network.server._commitments[client]


def test_clients_keep_no_secret_beyond_its_use():
    network = Network(4, threshold=3)
    network.advertise()
    client = network.clients[0]
    assert client._secrets.share_key is not None
    network.share()
    assert client._secrets.share_key is None
    network.mask(network.random_inputs())
    assert (client._secrets.mask_key, client._secrets.self_seed) == (None, 0)
    network.check()
    network.unmask()
    assert client._secrets is None
