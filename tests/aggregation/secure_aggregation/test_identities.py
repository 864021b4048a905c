"""The directory of verification keys."""

import pytest

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import identities


def test_enrolled_parties_are_in_the_directory():
    server, members, directory = identities.enrol([3, 8])
    assert directory.server == server.public
    assert directory.clients == {client: member.public for client, member in members.items()}
    signature = members[3].sign(b"text")
    assert len(signature) == identities.SIGNATURE_BYTES
    assert identities.verifies(directory.clients[3], signature, b"text")
    assert not identities.verifies(directory.clients[3], signature, b"test")
    assert not identities.verifies(directory.clients[8], signature, b"text")


def test_a_key_of_two_parties_is_refused():
    """One party with two ids could sign and answer twice."""
    one, two = identities.Identity().public, identities.Identity().public
    for server, clients in ((one, {0: two, 1: two}), (one, {0: two, 1: one})):
        with pytest.raises(errors.UserError, match="two parties have the same"):
            identities.Directory(server, clients)


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 64])
def test_keys_of_another_length_are_refused(key):
    with pytest.raises(errors.UserError, match="must have 32 bytes"):
        identities.Directory(identities.Identity().public, {0: key})
