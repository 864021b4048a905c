"""Membership inference: does a model's output reveal whether it was trained on an example?

The attacks are those of TensorFlow Privacy. Since version 0.9 they are in a separate package,
tensorflow-empirical-privacy: a threshold on the loss (Yeom et al. 2018) and a cross-validated
logistic regression on logits and loss (Shokri et al. 2017, without shadow models).

If the attacks find nothing, this does not prove that there is no leak. They use only one model and
only its outputs.
"""

import contextlib
import dataclasses
import importlib.metadata
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.special
import scipy.stats

from tff_nlp import errors

THRESHOLD, LOGISTIC_REGRESSION = "threshold", "logistic_regression"

_PACKAGE = "tensorflow-empirical-privacy"
# Half width of the intervals in standard errors, and the probability with which chance alone
# exceeds `Attack.chance`.
_DEVIATIONS, _CHANCE = 1.96, 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of a model for some examples.

    Attributes:
      logits: The model's logits, float[examples, labels].
      labels: The true labels, int[examples].
    """

    logits: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Outputs":
        """Returns the outputs for some examples.

        Args:
          rows: Positions, int[n], or a mask, bool[examples].
        """
        return Outputs(self.logits[rows], self.labels[rows])

    @property
    def losses(self) -> np.ndarray:
        """Cross-entropy in nats, float64[examples]. It is also precise for confident models."""
        logits = self.logits.astype(np.float64)
        rows = np.arange(len(self))
        behind = logits - logits[rows, self.labels][:, np.newaxis]
        behind[rows, self.labels] = -np.inf
        return np.logaddexp(0.0, scipy.special.logsumexp(behind, axis=1))


@dataclasses.dataclass(frozen=True, eq=False)
class Attack:
    """The result of one attack.

    Attributes:
      auc: Area under the ROC curve: probability that a random member gets a higher score than a
        random non-member. 0.5 is chance.
      auc_error: Standard error of the AUC for independent examples (Hanley and McNeil 1982).
      advantage: Largest difference between the rates of true and false positives, over all
        thresholds and in both directions. By chance alone it is positive, too.
      chance: Value that the advantage exceeds in 1 of 20 cases if members look like non-members
        (Kolmogorov-Smirnov test). None for the logistic regression: its scores come from two
        models, one per half of the examples, so the halves differ in any case.
      members: Number of members.
      others: Number of non-members.
      false_positives: Rates of false positives of the ROC curve, float64[points], ascending.
      true_positives: Rates of true positives of the ROC curve, float64[points].
    """

    auc: float
    auc_error: float
    advantage: float
    chance: float | None
    members: int
    others: int
    false_positives: np.ndarray
    true_positives: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the AUC."""
        error = _DEVIATIONS * self.auc_error
        return max(0.0, self.auc - error), min(1.0, self.auc + error)

    @property
    def succeeds(self) -> bool:
        """Whether the interval of the AUC is above chance."""
        return self.interval[0] > 0.5

    def to_json(self) -> dict[str, Any]:
        """Returns the result without the curve, as JSON values."""
        low, high = self.interval
        return {
            "auc": self.auc,
            "auc_low": low,
            "auc_high": high,
            "advantage": self.advantage,
            "advantage_by_chance": self.chance,
            "members": self.members,
            "others": self.others,
        }


def check_installed() -> None:
    """Checks that the packages of the attacks are installed. Call it before slow work.

    Raises:
      UserError: If a package is not installed.
    """
    for package in (_PACKAGE, "pandas", "statsmodels"):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError as error:
            raise errors.UserError(
                f"TensorFlow Privacy's attacks need {package}, which is not installed; install "
                "it with: EXTRAS=audit scripts/setup"
            ) from error


def attack(members: Outputs, others: Outputs, seed: int) -> dict[str, Attack]:
    """Attacks a model with all membership attacks.

    Args:
      members: Outputs for examples on which the model was trained.
      others: Outputs for other examples.
      seed: Seed of the folds of the logistic regression.

    Returns:
      The results of the attacks by name. The logistic regression is missing if there are too few
      members or others to train it (6).

    Raises:
      UserError: If a package is not installed.
    """
    check_installed()
    structures, run_attacks = _tensorflow_privacy()
    types = {
        structures.AttackType.THRESHOLD_ATTACK: THRESHOLD,
        structures.AttackType.LOGISTIC_REGRESSION: LOGISTIC_REGRESSION,
    }
    data = structures.AttackInputData(
        logits_train=members.logits.astype(np.float64),
        logits_test=others.logits.astype(np.float64),
        labels_train=members.labels,
        labels_test=others.labels,
        loss_train=members.losses,
        loss_test=others.losses,
    )
    with _global_seed(seed), warnings.catch_warnings():
        # The warnings are about empty cells in unused bounds, and regressions that stop early.
        warnings.simplefilter("ignore")
        found = run_attacks(data, attack_types=list(types)).single_attack_results
    return {types[one.attack_type]: _attack(types[one.attack_type], one) for one in found}


def like(labels: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chooses as many of `others` as possible with the same label mix as `labels`.

    Some labels are easier to predict than others. With a different label mix, an attack would
    detect labels instead of membership.

    Args:
      labels: Labels with the wanted mix, int[n].
      others: Labels to choose from, int[m].
      rng: Generator of the random choice.

    Returns:
      Positions in `others`, int64[k], ascending. Empty if a label is missing in `others`.
    """
    count = int(max(labels.max(initial=-1), others.max(initial=-1))) + 1
    wanted = np.bincount(labels, minlength=count) / max(len(labels), 1)
    there = np.bincount(others, minlength=count)
    asked = wanted > 0
    total = np.min(there[asked] / wanted[asked], initial=len(others))
    take = np.floor(total * wanted + 1e-9).astype(np.int64)
    chosen = [rng.permutation(np.flatnonzero(others == label))[:n] for label, n in enumerate(take)]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))


def _attack(name: str, found: Any) -> Attack:
    members, others = found.data_size
    auc = float(found.get_auc())
    return Attack(
        auc=auc,
        auc_error=_auc_error(auc, members, others),
        advantage=float(found.get_attacker_advantage()),
        chance=_advantage_by_chance(members, others) if name == THRESHOLD else None,
        members=members,
        others=others,
        false_positives=np.asarray(found.roc_curve.fpr),
        true_positives=np.asarray(found.roc_curve.tpr),
    )


def _auc_error(auc: float, members: int, others: int) -> float:
    """Returns the standard error of an AUC (Hanley and McNeil 1982, equation 2)."""
    two_members, two_others = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (
        auc * (1 - auc)
        + (members - 1) * (two_members - auc**2)
        + (others - 1) * (two_others - auc**2)
    )
    return math.sqrt(max(variance, 0.0) / (members * others))


def _advantage_by_chance(members: int, others: int) -> float:
    quantile = float(scipy.stats.kstwobign.ppf(1 - _CHANCE))
    return min(1.0, quantile * math.sqrt((members + others) / (members * others)))


@contextlib.contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Seeds NumPy's global generator for TensorFlow Privacy, and restores its state afterwards."""
    before = np.random.get_state()
    np.random.seed(seed & 0xFFFFFFFF)
    try:
        yield
    finally:
        np.random.set_state(before)


def _tensorflow_privacy() -> tuple[Any, Any]:
    """Returns TensorFlow Privacy's data structures and `run_attacks`."""
    import joblib
    import sklearn.utils

    if not hasattr(sklearn.utils, "parallel_backend"):
        # Since version 1.5, scikit-learn does not export joblib's function any more, but TensorFlow
        # Privacy still imports it from scikit-learn.
        sklearn.utils.parallel_backend = joblib.parallel_backend
    from tensorflow_privacy.privacy.privacy_tests.membership_inference_attack import (
        data_structures,
        membership_inference_attack,
    )

    return data_structures, membership_inference_attack.run_attacks
