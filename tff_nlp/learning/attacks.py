"""What attacking clients send instead of their updates, in a simulation of attacks.

Every client has the same computation. Its input says whether it is an attacker.
"""

import dataclasses
from typing import Any

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.learning import attack_names, client_input

Update = tuple[tf.Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack on the updates.

    Attributes:
      name: One of `attack_names.ATTACKS`, but "none".
      scale: Factor of what an attacker sends, before a flip of its sign. The attack on the data and
        "alie" do not use it: alie happens at the aggregator, which knows the honest updates.
    """

    name: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        choices = attack_names.ATTACKS[1:]
        if self.name not in choices:
            raise errors.UserError(
                f"{errors.setting('attack', self.name)}: choose one of {', '.join(choices)}"
            )

    @property
    def colludes(self) -> bool:
        """Whether attackers know the updates of others, so that the aggregator attacks."""
        return self.name == attack_names.ALIE

    def changed(self, update: Update, client: Any) -> Update:
        """Returns what a client sends.

        Args:
          update: The client's honest update.
          client: The client's input.
        """
        if self.name not in attack_names.ON_UPDATES:
            return update
        sign = -1.0 if self.name == attack_names.SIGN_FLIP else 1.0
        factor = tf.where(attacks(client), sign * self.scale, 1.0)
        return tuple(factor * part for part in update)


def attacks(client: Any) -> tf.Tensor:
    """Returns whether a client is an attacker, bool, from its input."""
    return client_input.value_of(client, client_input.ATTACKS, tf.constant(False))
