"""Membership inference on a finished run: overall, per source, per label and per client."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments import saved_run
from tff_nlp import errors, seeds
from tff_nlp.privacy import membership

Attacks = Mapping[str, membership.Attack]


@dataclasses.dataclass(frozen=True, eq=False)
class Audit:
    """What attackers find on one run.

    Attributes:
      run: The run.
      name: What to call it beside others.
      member_clients: How many clients took part; None of a central run.
      available: How many examples there are to choose from, by source; "members" among them.
      member_loss: Mean cross-entropy of the members that were scored, in nats.
      other_loss: The same of the others.
      overall: The attacks on all of them.
      sources: The attacks with the others from one source only.
      labels: The attacks on the examples of one label.
      clients: The attacks on the members of one client, against others of the same label mix.
    """

    run: saved_run.SavedRun
    name: str
    member_clients: int | None
    available: Mapping[str, int]
    member_loss: float
    other_loss: float
    overall: Attacks
    sources: Mapping[str, Attacks]
    labels: Mapping[str, Attacks]
    clients: Mapping[str, Attacks]

    @property
    def privacy(self) -> str:
        """What the run claims, in a line."""
        return self.run.result.get("privacy", {}).get("line", "none")

    def to_json(self) -> dict[str, Any]:
        """Returns audit.json, as docs/audit.md describes it."""
        values: dict[str, Any] = {
            "privacy": self.privacy,
            "test_accuracy": self.run.result["test"]["accuracy"],
            "member_clients": self.member_clients,
            "available": dict(self.available),
            "member_loss": self.member_loss,
            "other_loss": self.other_loss,
            "overall": _to_json(self.overall),
        }
        for part in ("sources", "labels", "clients"):
            values[part] = {name: _to_json(found) for name, found in getattr(self, part).items()}
        return values


def audit(
    run: saved_run.SavedRun, name: str, *, max_examples: int, min_examples: int, cache_dir: str
) -> Audit:
    """Scores examples with a run's model and attacks the scores.

    Args:
      run: The run.
      name: What to call it beside others.
      max_examples: How many to score at most, half of them members.
      min_examples: Labels, clients and sources with fewer members or others are left out.
      cache_dir: Of tokens, as --cache_dir.

    Raises:
      UserError: If there are too few examples, or the model cannot be loaded.
    """
    found = saved_run.examples(run)
    half = max_examples // 2
    chosen = _choose_members(found, half, min_examples, run.seed)
    rows = found.members[chosen]
    others = _choose_others(found, half, run.seed)
    source_of = np.repeat(np.arange(len(others)), [len(r) for r in others.values()])
    members, unseen = _outputs(run, cache_dir, rows, others)
    attacker = _Attacker(min_examples, run.seed)
    overall = attacker.attack(members, unseen, "overall")
    if overall is None:
        raise errors.UserError(
            f"--run={run.folder}: there are fewer members, or others of the same labels, than "
            f"--min_examples={min_examples}"
        )
    per_client = found.member_clients[chosen]
    names = run.texts.train.label_names
    return Audit(
        run=run,
        name=name,
        member_clients=int(found.drawn.sum()) if found.client_ids else None,
        available={"members": len(found.members), **{s: len(r) for s, r in found.others.items()}},
        member_loss=float(members.losses.mean()),
        other_loss=float(unseen.losses.mean()),
        overall=overall,
        sources=_each(
            (source, attacker.attack(members, unseen.take(source_of == number), source))
            for number, source in enumerate(others)
        ),
        labels=_each(
            (
                label,
                attacker.attack(
                    members.take(members.labels == number),
                    unseen.take(unseen.labels == number),
                    f"label {number}",
                ),
            )
            for number, label in enumerate(names)
        ),
        clients=_each(
            (
                found.client_ids[client],
                attacker.attack(members.take(per_client == client), unseen, f"client {client}"),
            )
            for client in (np.unique(per_client) if found.client_ids else ())
        ),
    )


@dataclasses.dataclass(frozen=True)
class _Attacker:
    """Attacks members against others of the same label mix.

    Attributes:
      least: The fewest members, and the fewest others, and of a label the fewest others.
      seed: The run's.
    """

    least: int
    seed: int

    def attack(
        self, members: membership.Outputs, others: membership.Outputs, what: str
    ) -> Attacks | None:
        """Returns the attacks by name, None where there are too few examples.

        Args:
          members: To be told from the others.
          others: To choose from.
          what: Tells the random choices from those of other attacks.
        """
        there = np.bincount(others.labels, minlength=others.logits.shape[1]) >= self.least
        members = members.take(there[members.labels])
        rng = seeds.generator(self.seed, "audit_mix", what)
        others = others.take(membership.like(members.labels, others.labels, rng))
        if min(len(members), len(others)) < self.least:
            return None
        return membership.attack(members, others, seeds.derive(self.seed, "audit_folds", what))


def _choose_members(found: saved_run.Examples, wanted: int, least: int, seed: int) -> np.ndarray:
    """Returns positions among the members: as many clients as have room, each with its share.

    A client's share is the same for all, and at least `least`; within a client and between clients
    chance chooses.
    """
    rng = seeds.generator(seed, "audit_members")
    order = rng.permutation(len(found.members))
    clients = found.member_clients[order]
    share = max(least, math.ceil(wanted / max(len(np.unique(clients)), 1)))
    # The rank of each example within its client.
    by_client = np.argsort(clients, kind="stable")
    sizes = np.unique(clients, return_counts=True)[1]
    ranks = np.empty(len(order), np.int64)
    ranks[by_client] = np.concatenate([np.arange(size) for size in sizes])
    turn = rng.permutation(int(clients.max(initial=0)) + 1)[clients]
    kept = np.flatnonzero(ranks < share)
    kept = kept[np.argsort(turn[kept], kind="stable")][:wanted]
    return np.sort(order[kept])


def _choose_others(found: saved_run.Examples, wanted: int, seed: int) -> dict[str, np.ndarray]:
    """Returns rows by source: the same number of each, or all where there are fewer."""
    chosen, left = {}, wanted
    smallest_first = sorted(found.others, key=lambda source: len(found.others[source]))
    for number, source in enumerate(smallest_first):
        rows = found.others[source]
        take = min(len(rows), left // (len(smallest_first) - number))
        rng = seeds.generator(seed, "audit_others", source)
        chosen[source] = np.sort(rng.permutation(rows)[:take])
        left -= take
    return {source: chosen[source] for source in saved_run.SOURCES if source in chosen}


def _outputs(
    run: saved_run.SavedRun, cache_dir: str, members: np.ndarray, others: Mapping[str, np.ndarray]
) -> tuple[membership.Outputs, membership.Outputs]:
    """Returns what the model says of the members, and of the others in the order of sources."""
    of_train = [rows for source, rows in others.items() if source != saved_run.TEST]
    train_rows = np.concatenate([members, *of_train])
    test_rows = others.get(saved_run.TEST, np.zeros(0, np.int64))
    of_train_logits, of_test_logits = saved_run.outputs(run, cache_dir, train_rows, test_rows)
    train = membership.Outputs(of_train_logits, run.texts.train.labels[train_rows])
    test = membership.Outputs(of_test_logits, run.texts.test.labels[test_rows])
    rest = train.take(np.arange(len(members), len(train)))
    unseen = membership.Outputs(
        np.concatenate([test.logits, rest.logits]), np.concatenate([test.labels, rest.labels])
    )
    return train.take(np.arange(len(members))), unseen


def _each(found: Any) -> dict[str, Attacks]:
    return {name: attacks for name, attacks in found if attacks is not None}


def _to_json(attacks: Attacks) -> dict[str, Any]:
    return {name: attack.to_json() for name, attack in attacks.items()}
