"""Checks of single arguments. A mistake is reported in one line that names the argument."""

import math
from typing import NoReturn

from tff_nlp import errors
from tff_nlp.privacy import names


def refuse(name: str, value: object, why: str) -> NoReturn:
    """Raises UserError with an argument, its value and the reason, a marked text."""
    raise errors.UserError(f"{errors.setting(name, value)}: {why}")


def refuse_missing(name: str, why: str = "must be given") -> NoReturn:
    """Raises UserError with the flag of a value that was not given, and the reason."""
    raise errors.UserError(f"`{name}`: {why}")


def check(good: bool, name: str, value: object, must_be: str) -> None:
    """Refuses a value that is not good, or NaN."""
    if not good or (isinstance(value, float) and math.isnan(value)):
        refuse(name, value, f"must be {must_be}")


def above_zero(name: str, value: float, when: str = "") -> None:
    """Refuses a value that is not above 0 and finite."""
    check(0 < value < math.inf, name, value, f"above 0 and finite{when}")


def noise(name: str, value: float | None) -> None:
    """Refuses a noise multiplier that is outside of the accountants' range. None passes."""
    if value is None:
        return
    possible = value == 0 or names.LEAST_NOISE <= value <= names.MOST_NOISE
    check(possible, name, value, f"0, or from {names.LEAST_NOISE:g} to {names.MOST_NOISE:g}")


def encodable(name: str, value: str) -> None:
    """Refuses a value that is not UTF-8. Python reads such bytes as surrogate characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        refuse(name, value, "is not UTF-8")


def momentum(side: str, optimizer: str, value: float) -> None:
    """Refuses a momentum outside of [0, 1), or with an optimizer other than sgd."""
    check(0 <= value < 1, f"{side}_momentum", value, "at least 0 and below 1")
    if value and optimizer != "sgd":
        refuse(f"{side}_momentum", value, f"only `{side}_optimizer`=sgd uses it")


def at_least(lowest: int, name: str, value: int | None) -> None:
    """Refuses a value below the lowest one. None passes."""
    check(value is None or value >= lowest, name, value, f"{lowest} or more")
