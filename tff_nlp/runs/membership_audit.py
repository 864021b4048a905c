"""Membership inference on a finished run: overall, per source, per label and per client."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_nlp import errors, seeds
from tff_nlp.privacy import membership
from tff_nlp.runs import saved_run

Attacks = Mapping[str, membership.Attack]


@dataclasses.dataclass(frozen=True, eq=False)
class Audit:
    """The results of the attacks on one run.

    Members are examples that the run trained on. Others are examples that it did not train on.

    Attributes:
      run: The run.
      name: Name of the run in tables and pictures.
      member_clients: Number of clients that took part; None for a central run.
      available: Number of examples to choose from, by source. "members" is one of the sources.
      member_loss: Mean cross-entropy of the scored members, in nats.
      other_loss: Mean cross-entropy of the scored others, in nats.
      overall: The attacks on all members and others.
      sources: The attacks with others from one source only, by source.
      labels: The attacks on the examples of one label, by label.
      clients: The attacks on the members of one client, by client, with others of the same label
        mix.
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
        """The privacy statement of the run, one line."""
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
            values[part] = {
                name: _to_json(attacks) for name, attacks in getattr(self, part).items()
            }
        return values


def audit(
    run: saved_run.SavedRun, name: str, *, max_examples: int, min_examples: int, cache_dir: str
) -> Audit:
    """Scores examples with a run's model and attacks the scores.

    Args:
      run: The run.
      name: Name of the run in tables and pictures.
      max_examples: Maximum number of examples to score. Half of them are members.
      min_examples: Minimum number of members, and of others. Labels, clients and sources with fewer
        are left out.
      cache_dir: Folder of token caches; empty for the user's default folder.

    Raises:
      UserError: If there are too few examples, or the model cannot be loaded.
    """
    examples = saved_run.examples(run)
    half = max_examples // 2
    chosen = _choose_members(examples, half, min_examples, run.seed)
    rows = examples.members[chosen]
    others = _choose_others(examples, half, run.seed)
    source_of = np.repeat(np.arange(len(others)), [len(r) for r in others.values()])
    members, unseen = _outputs(run, cache_dir, rows, others)
    attacker = _Attacker(min_examples, run.seed)
    overall = attacker.attack(members, unseen, "overall")
    if overall is None:
        raise errors.UserError(
            f"{errors.setting('run', run.folder)}: there are fewer members, or others of the same "
            f"labels, than `min_examples`={min_examples}"
        )
    per_client = examples.member_clients[chosen]
    names = run.texts.train.label_names
    return Audit(
        run=run,
        name=name,
        member_clients=int(examples.drawn.sum()) if examples.client_ids else None,
        available={
            "members": len(examples.members),
            **{s: len(r) for s, r in examples.others.items()},
        },
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
                examples.client_ids[client],
                attacker.attack(members.take(per_client == client), unseen, f"client {client}"),
            )
            for client in (np.unique(per_client) if examples.client_ids else ())
        ),
    )


@dataclasses.dataclass(frozen=True)
class _Attacker:
    """Attacks members against others of the same label mix.

    Attributes:
      least: Minimum number of members, of others, and of others per label.
      seed: Seed of the run.
    """

    least: int
    seed: int

    def attack(
        self, members: membership.Outputs, others: membership.Outputs, what: str
    ) -> Attacks | None:
        """Returns the attacks by name; None if there are too few examples.

        Args:
          members: Outputs for the members.
          others: Outputs for the others. Some of them are chosen, with the label mix of the
            members.
          what: Purpose of the random choices. Each attack has its own.
        """
        enough = np.bincount(others.labels, minlength=others.logits.shape[1]) >= self.least
        members = members.take(enough[members.labels])
        rng = seeds.generator(self.seed, "audit_mix", what)
        others = others.take(membership.like(members.labels, others.labels, rng))
        if min(len(members), len(others)) < self.least:
            return None
        return membership.attack(members, others, seeds.derive(self.seed, "audit_folds", what))


def _choose_members(examples: saved_run.Examples, wanted: int, least: int, seed: int) -> np.ndarray:
    """Returns random positions among the members.

    Each client gives the same number of members, at least `least`, if it has as many. Random
    clients are taken until there are `wanted` members.
    """
    rng = seeds.generator(seed, "audit_members")
    order = rng.permutation(len(examples.members))
    clients = examples.member_clients[order]
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


def _choose_others(examples: saved_run.Examples, wanted: int, seed: int) -> dict[str, np.ndarray]:
    """Returns random rows by source: the same number per source, or all if a source has fewer."""
    chosen, left = {}, wanted
    smallest_first = sorted(examples.others, key=lambda source: len(examples.others[source]))
    for number, source in enumerate(smallest_first):
        rows = examples.others[source]
        take = min(len(rows), left // (len(smallest_first) - number))
        rng = seeds.generator(seed, "audit_others", source)
        chosen[source] = np.sort(rng.permutation(rows)[:take])
        left -= take
    return {source: chosen[source] for source in saved_run.SOURCES if source in chosen}


def _outputs(
    run: saved_run.SavedRun, cache_dir: str, members: np.ndarray, others: Mapping[str, np.ndarray]
) -> tuple[membership.Outputs, membership.Outputs]:
    """Returns the model's outputs for the members, and for the others in the order of sources."""
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


def _each(named: Any) -> dict[str, Attacks]:
    return {name: attacks for name, attacks in named if attacks is not None}


def _to_json(attacks: Attacks) -> dict[str, Any]:
    return {name: attack.to_json() for name, attack in attacks.items()}
