"""What a lying server with colluding clients learns from real clients.

Without the consistency check and the clients' demands, the attacks with different claims would
reveal the exact sum over as few honest clients as their cases say.
"""

import numpy as np
import pytest

from tests.aggregation.secure_aggregation.adversary import LyingServer, scattered
from tests.aggregation.secure_aggregation.network import payload_of
from tff_nlp.aggregation.secure_aggregation import demands, messages, refusals, session
from tff_nlp.aggregation.secure_aggregation.envelope import Kind


@pytest.mark.parametrize(
    ("clients", "threshold", "colluders"),
    [(21, 11, 0), (21, 11, 1), (100, 51, 0), (100, 51, 2), (2, 2, 0), (2, 2, 1), (4, 3, 1)],
)
def test_a_threshold_that_the_server_chose(clients, threshold, colluders):
    """Clients refuse it by default, and also if they expect exactly these colluders."""
    counted = [demands.DEFAULT]
    if colluders and clients > 4:
        counted.append(demands.Demands(colluders=colluders))
    for demanded in counted:
        lying = LyingServer(clients, colluders, threshold, demanded)
        assert lying.refused.keys() == set(lying.honest)
        assert all("refuses the session" in str(error) for error in lying.refused.values())


def play(lying, claims, sharers=None):
    lying.share_keys()
    lying.mask(sharers)
    lying.unmask(claims)
    return lying.learned()


@pytest.mark.parametrize(
    ("clients", "threshold", "colluders", "left", "demanded"),
    [
        (21, 11, 0, 2, demands.Demands(colluders=0)),
        (21, 14, 6, 2, demands.DEFAULT),
        pytest.param(100, 51, 0, 4, demands.Demands(colluders=0), marks=pytest.mark.slow),
        pytest.param(100, 67, 33, 2, demands.DEFAULT, marks=pytest.mark.slow),
    ],
)
def test_different_claims_to_each_client(clients, threshold, colluders, left, demanded):
    """Each client gets other survivors, so that the server can reconstruct nearly all mask keys."""
    lying = LyingServer(clients, colluders, threshold, demanded)
    assert play(lying, scattered(lying, lying.honest[:left])) == {}
    assert lying.refused.keys() == set(lying.honest)
    assert all("signed the same sets" in str(error) for error in lying.refused.values())


@pytest.mark.parametrize(("colluders", "exposed"), [(0, False), (4, False), (5, True)])
def test_an_honest_but_curious_server_learns_one_sum(colluders, exposed):
    """The colluders' shares reveal nothing while they are fewer than the threshold."""
    lying = LyingServer(7, colluders, 5, demands.Demands(colluders=0))
    learned = play(lying, dict.fromkeys(lying.honest, frozenset()))
    if exposed:
        assert learned == {frozenset({c}): lying.true_sums([c]) for c in lying.honest}
    else:
        assert learned == {frozenset(lying.honest): lying.true_sums(lying.honest)}


def two_claims(lying, split):
    """The server claims to half of the clients that 1 dropped out, and to the others that 0 did."""
    return {c: {1} if c < split and c != 1 else {0} for c in lying.honest if c != 0} | {0: {1}}


def test_at_most_one_of_two_claims_gets_enough_signatures():
    lying = LyingServer(21, 6, 14)
    everybody = frozenset(lying.honest)
    learned = play(lying, two_claims(lying, 9))
    # Clients 0 and 2 to 8 got the first claim: eight clients and six colluders.
    assert learned == {everybody - {1}: lying.true_sums(everybody - {1})}
    assert lying.refused.keys() == {1, *range(9, 15)}


def test_the_number_of_colluders_is_exact():
    """With one colluder more than the clients expect, both claims get enough signatures."""
    lying = LyingServer(21, 7, 14)
    learned = play(lying, two_claims(lying, 8))
    assert learned[frozenset({0})] == lying.true_sums([0])
    assert learned[frozenset({1})] == lying.true_sums([1])


def test_the_revealed_sum_has_at_least_threshold_minus_colluders_clients():
    lying = LyingServer(21, 6, 14)
    gone = set(lying.honest[8:])
    rest = frozenset(lying.honest[:8])
    learned = play(lying, dict.fromkeys(rest, gone))
    assert learned == {rest: lying.true_sums(rest)}
    lying = LyingServer(21, 6, 14)
    gone = set(lying.honest[7:])
    assert play(lying, dict.fromkeys(lying.honest[:7], gone)) == {}
    assert "13 clients sent masked inputs" in str(lying.refused[0])


def cut_off(lying, friends):
    """Claims with which client 0 masks its input with clients that then count as dropped.

    Returns:
      Client -> the clients that shared keys, and client -> the dropped clients. Both are what the
      server claims to this client.
    """
    sharers = {0: {0, *friends, *lying.colluders}}
    others = set(lying.honest) - {0} - friends
    return sharers, dict.fromkeys(others, friends)


@pytest.mark.parametrize(("colluders", "exposed"), [(6, False), (7, True)])
def test_another_set_of_sharers_for_one_client(colluders, exposed):
    """Its masks are with clients that are not in the sum. One more colluder reveals its input."""
    lying = LyingServer(21, colluders, 14)
    sharers, claims = cut_off(lying, set(range(1, 14 - colluders)))
    learned = play(lying, claims, sharers)
    assert learned == ({frozenset({0}): lying.true_sums([0])} if exposed else {})


def test_another_roster_for_one_client():
    """Its shares belong to a different round id, which no other client has."""
    lying = LyingServer(7, 0, 5)
    advertised = {c: half.advertise_keys() for c, half in lying.halves.items()}
    whole, part = lying.roster_of(advertised), lying.roster_of({c: advertised[c] for c in range(6)})
    shared = {c: half.share_keys(part if c == 0 else whole) for c, half in lying.halves.items()}
    lying.take_shares(advertised, shared, whole)
    # Client 0 has no share for client 6, because client 6 is not in its roster.
    lying.mask({6: range(1, 7)})
    assert lying.masked.keys() == {6}
    assert "another session or roster" in str(lying.refused[0])
    assert all("shares of client 0 do not decrypt" in str(lying.refused[c]) for c in range(1, 6))


def test_an_old_session_is_of_no_use():
    """A client makes new keys for an old invitation, so messages with old keys are useless."""
    lying = LyingServer(7, 0, 5)
    assert play(lying, dict.fromkeys(range(6), {6}))
    roster = lying.roster_of(lying.advertised)
    again = lying.join(0)
    lying.id = lying.session.id
    mixed = lying.roster_of({**lying.advertised, 0: again.advertise_keys()})
    other = lying.join(0)
    other.advertise_keys()
    for old in (lying.roster_of(lying.advertised), mixed):
        with pytest.raises(refusals.SecureAggregationAborted, match="its own keys|has given up"):
            other.share_keys(old)
    with pytest.raises(refusals.MessageRejectedError, match="another session or roster"):
        again.share_keys(roster)
    again.share_keys(mixed)
    old = messages.encode_sealed({c: lying.shared[c].sealed[0] for c in range(1, 6)})
    lying.id = session.round_id(lying.session.id, payload_of(mixed))
    message = lying.seal(Kind.FORWARDED_SHARES, old, 0)
    with pytest.raises(refusals.SecureAggregationAborted, match="client 1 do not decrypt"):
        again.masked_input(message, lying.inputs[0])


def random_lies(case, colluders, clients=7):
    """Runs a server with up to three claims about survivors, and two about sharers.

    Returns:
      The minimum number of honest clients in a sum, and what the server learned.
    """
    generator = np.random.default_rng(case)
    demanded = demands.Demands(colluders=2)
    threshold = demanded.least_threshold(clients)
    lying = LyingServer(clients, colluders, threshold, demanded, seed=case)

    def some(most):
        size = min(generator.integers(0, most + 1), len(lying.honest) - 1)
        return frozenset(generator.choice(lying.honest, size, replace=False).tolist())

    def pick(of):
        return of[generator.integers(len(of))]

    claims = [some(clients - threshold) for _ in range(pick([1, 2, 3]))]
    missing = [frozenset(), some(clients - threshold)]
    lying.share_keys()
    lying.mask({c: set(range(clients)) - pick(missing) for c in lying.honest})
    fitting = {c: [gone for gone in claims if c not in gone] or claims for c in lying.honest}
    lying.unmask({c: pick(fitting[c]) & lying.heard.get(c, set()) for c in lying.honest})
    learned = lying.learned()
    for group, sums in learned.items():
        assert sums == lying.true_sums(group)
    return threshold - colluders, learned


@pytest.mark.parametrize("colluders", [0, 1, 2])
def test_random_lies_give_one_sum_over_enough_clients_or_none(colluders):
    outcomes = [random_lies(case, colluders) for case in range(15)]
    assert all(len(learned) <= 1 for _, learned in outcomes)
    assert all(len(group) >= least for least, learned in outcomes for group in learned)
    assert any(learned for _, learned in outcomes)


def test_random_lies_reveal_more_with_more_colluders():
    """With more colluders than the clients expect, some attacks reveal smaller sums."""
    outcomes = [random_lies(case, 3) for case in range(15)]
    assert any(len(group) < 3 for _, learned in outcomes for group in learned)
