"""Membership inference on a model's outputs: can examples it trained on be told from others?

The attacks are TensorFlow Privacy's, which come in a package of their own since its version 0.9
(tensorflow-empirical-privacy): a threshold on the loss (Yeom et al. 2018) and a logistic regression
on logits and loss, cross-validated (Shokri et al. 2017, without shadow models).

That they find nothing does not prove that there is no leak: they see one model, and outputs only.
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

THRESHOLD, LOGISTIC_REGRESSION = ATTACKS = ("threshold", "logistic_regression")

_PACKAGE = "tensorflow-empirical-privacy"
# Of all intervals: two standard errors, and how often chance alone exceeds `Attack.chance`.
_DEVIATIONS, _CHANCE = 1.96, 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """What a model says of some examples.

    Attributes:
      logits: float[examples, labels].
      labels: int[examples], the true ones.
    """

    logits: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Outputs":
        """Returns some of them, by position or by mask."""
        return Outputs(self.logits[rows], self.labels[rows])

    @property
    def losses(self) -> np.ndarray:
        """float64[examples], cross-entropy in nats, exact for confident models, too."""
        logits = self.logits.astype(np.float64)
        rows = np.arange(len(self))
        behind = logits - logits[rows, self.labels][:, np.newaxis]
        behind[rows, self.labels] = -np.inf
        return np.logaddexp(0.0, scipy.special.logsumexp(behind, axis=1))


@dataclasses.dataclass(frozen=True, eq=False)
class Attack:
    """How well one attack does.

    Attributes:
      auc: Area under the ROC curve: how often a random member looks more like one than a random
        other example; 0.5 is chance.
      auc_error: Its standard error (Hanley and McNeil 1982), for examples that are independent.
      advantage: The largest difference between the rates of true and false positives, over all
        thresholds and in either direction, so that chance alone makes it positive.
      chance: What the advantage exceeds in 1 of 20 cases if members look like others (Kolmogorov
        and Smirnov); None of the logistic regression, whose scores come from two models, one for
        each half of the examples, and differ between the halves by themselves.
      members: How many members were tried.
      others: How many others.
      false_positives: float64[points], rates of the ROC curve, ascending.
      true_positives: float64[points].
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
        """The AUC's 95 % interval."""
        error = _DEVIATIONS * self.auc_error
        return max(0.0, self.auc - error), min(1.0, self.auc + error)

    @property
    def succeeds(self) -> bool:
        """Whether the AUC's interval lies above chance."""
        return self.interval[0] > 0.5

    def to_json(self) -> dict[str, Any]:
        """Returns all but the curve, as values that json can write."""
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
    """Tells at once, before anything heavy is loaded, if the attacks are not there.

    Raises:
      UserError: If their package is not installed.
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
    """Tries to tell members from others.

    Args:
      members: Outputs for examples that the model trained on.
      others: Outputs for examples that it did not.
      seed: Decides the folds of the logistic regression.

    Returns:
      The attacks by name; without the logistic regression where there are too few of either to
      train it (6).
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
        # Of empty cells in bounds that are not used here, and of regressions that stop early.
        warnings.simplefilter("ignore")
        found = run_attacks(data, attack_types=list(types)).single_attack_results
    return {types[one.attack_type]: _attack(types[one.attack_type], one) for one in found}


def like(labels: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns positions in `others`, as many as can be, that have the mix of `labels`.

    Some labels are easier than others: with another mix, an attack would tell labels apart and call
    it membership.

    Args:
      labels: int[n], whose mix is wanted.
      others: int[m], to choose from.
      rng: Chooses.

    Returns:
      int64[k], ascending; none if a label is absent from `others`.
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
    """Seeds NumPy's global generator, which TensorFlow Privacy draws from, and gives it back."""
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
        # scikit-learn 1.5 stopped passing joblib's function on; TensorFlow Privacy still imports it
        # from there.
        sklearn.utils.parallel_backend = joblib.parallel_backend
    from tensorflow_privacy.privacy.privacy_tests.membership_inference_attack import (
        data_structures,
        membership_inference_attack,
    )

    return data_structures, membership_inference_attack.run_attacks
