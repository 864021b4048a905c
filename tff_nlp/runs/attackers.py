"""The attackers of a run: who they are, what they train on, and whether they succeed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_nlp import seeds
from tff_nlp.clients import partition
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.learning import attack_names
from tff_nlp.runs import checks, configs

# Name of the evaluation set of texts with the trigger, whose accuracy is the attack's success.
BACKDOOR = "backdoor"


@dataclasses.dataclass(frozen=True, eq=False)
class Attackers:
    """Clients that attack.

    Attributes:
      options: What they do.
      attacks: bool[clients], whether a client is an attacker.
    """

    options: configs.AttackConfig
    attacks: np.ndarray

    def line(self) -> str:
        """Returns who attacks, for the user."""
        count, name = int(self.attacks.sum()), self.options.attack
        scale = f" with {self.options.scale():g}" if name in attack_names.SCALES else ""
        return f"{name}{scale}: {count} of {len(self.attacks)} clients attack"

    def poison(self, corpus: Corpus) -> Corpus | None:
        """Returns the corpus as attackers train on it; None if they train as others do.

        Args:
          corpus: The training texts, with labels.

        Raises:
          UserError: If the corpus does not have the label of the backdoor.
        """
        name = self.options.attack
        if name == attack_names.LABEL_FLIP:
            flipped = len(corpus.label_names) - 1 - corpus.labels
            return dataclasses.replace(corpus, labels=flipped.astype(corpus.labels.dtype))
        if name != attack_names.BACKDOOR:
            return None
        # Every second text has the trigger, so that the model keeps working without it.
        rows = np.arange(0, len(corpus), 2)
        return _triggered(corpus, rows, self.options.backdoor_trigger, self._target(corpus))

    def test(self, corpus: Corpus) -> Corpus | None:
        """Returns the test texts with the trigger and the attackers' label; None without one.

        Texts that have this label anyway are left out.
        """
        if self.options.attack != attack_names.BACKDOOR:
            return None
        target = self._target(corpus)
        others = corpus.take(np.flatnonzero(corpus.labels != target))
        rows = np.arange(len(others))
        return _triggered(others, rows, self.options.backdoor_trigger, target)

    def _target(self, corpus: Corpus) -> int:
        label = self.options.backdoor_label
        if not label:
            return 0
        if label not in corpus.label_names:
            why = f"{corpus.name} has the labels {', '.join(corpus.label_names)}"
            checks.refuse("backdoor_label", label, why)
        return corpus.label_names.index(label)


def of_run(run: configs.FederatedRun, clients: partition.Partition) -> Attackers | None:
    """Returns the attackers; None if no client attacks.

    Args:
      run: The configuration.
      clients: The clients that train.

    Raises:
      UserError: If all clients would attack.
    """
    if not run.attack.is_on:
        return None
    count = max(1, round(run.attack.attack_fraction * clients.num_clients))
    if count >= clients.num_clients:
        why = f"all {clients.num_clients} clients would attack"
        checks.refuse("attack_fraction", run.attack.attack_fraction, why)
    drawn = seeds.generator(run.rounds.seed, "attackers").permutation(clients.num_clients)
    chosen = np.zeros([clients.num_clients], bool)
    chosen[drawn[:count]] = True
    return Attackers(run.attack, chosen)


def result(found: Attackers | None, scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the entry of result.json; None without attackers.

    Args:
      found: The attackers.
      scores: The scores of the last evaluation, by evaluation set.
    """
    if found is None:
        return None
    line = found.line()
    entry: dict[str, Any] = {
        "attack": found.options.attack,
        "attackers": int(found.attacks.sum()),
        "clients": len(found.attacks),
    }
    if BACKDOOR in scores:
        entry["backdoor_success"] = scores[BACKDOOR].accuracy
        entry["backdoor_texts"] = scores[BACKDOOR].examples
        line += (
            f"; {entry['backdoor_success']:.4f} of {entry['backdoor_texts']:,} test texts with the "
            "trigger get its label"
        )
    return {**entry, "line": line}


def _triggered(corpus: Corpus, rows: np.ndarray, trigger: str, label: int) -> Corpus:
    """Returns the corpus with the trigger and this label in some rows."""
    texts, labels = list(corpus.texts), corpus.labels.copy()
    for row in rows:
        texts[row] = f"{trigger} {texts[row]}"
    labels[rows] = label
    return dataclasses.replace(corpus, texts=tuple(texts), labels=labels)
