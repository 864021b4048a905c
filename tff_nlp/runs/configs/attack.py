"""Clients that attack the training, for research."""

import dataclasses
import math

from tff_nlp.learning import attack_names as attacks
from tff_nlp.runs import checks
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class AttackConfig:
    """Clients that attack the training, for research."""

    attack: str = option(
        attacks.NONE,
        "What attacking clients do. label_flip: they train on wrong labels; sign_flip: they send "
        "the opposite of their update; scaling: they send a multiple of it; alie: all send the "
        "mean of the honest updates minus a few deviations; backdoor: they train the model to give "
        "`backdoor_label` to texts with `backdoor_trigger`.",
        attacks.ATTACKS,
    )
    attack_fraction: float = option(0.2, "Fraction of the clients that attack, at least one.")
    attack_scale: float | None = option(
        None,
        "sign_flip, scaling, backdoor: factor of what an attacker sends; alie: number of "
        "deviations; empty: 1 for sign_flip and backdoor, 10 for scaling, 1.5 for alie.",
    )
    backdoor_trigger: str = option("cf", "backdoor: the rare word that is put before a text.")
    backdoor_label: str = option(
        "", "backdoor: label of texts with the trigger; empty: the corpus's first label."
    )

    def __post_init__(self) -> None:
        fraction, scale = self.attack_fraction, self.attack_scale
        checks.check(0 < fraction < 1, "attack_fraction", fraction, "above 0 and below 1")
        if scale is not None:
            checks.check(0 < scale < math.inf, "attack_scale", scale, "above 0 and finite")
        trigger = self.backdoor_trigger
        checks.check(bool(trigger.strip()), "backdoor_trigger", trigger, "a word")

    @property
    def is_on(self) -> bool:
        """Whether there are attackers."""
        return self.attack != attacks.NONE

    def scale(self) -> float:
        """Returns the factor of what an attacker sends, or its number of deviations."""
        default = attacks.SCALES.get(self.attack, 1.0)
        return default if self.attack_scale is None else self.attack_scale
