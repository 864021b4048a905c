"""The package versions that work together, and a check that they are installed.

The check reads only package metadata, before large packages are imported. Without it, a wrong
version causes an error deep inside another package, or no error at all.
"""

import dataclasses
import importlib.metadata
import re
import sys
from collections.abc import Callable, Sequence


class WrongVersionError(ImportError):
    """The installed packages are not the ones that tff_nlp needs. The message says what to do.

    Attributes:
      repair: The command that installs the right packages.

    """

    def __init__(self, problems: Sequence[str], repair: str) -> None:
        super().__init__(
            "tff_nlp cannot work with the packages of this Python:\n"
            + "".join(f"  {problem}\n" for problem in problems)
            + f"To repair it, run scripts/setup --repair and use .venv/bin/python; or: {repair}"
        )
        self.repair = repair


@dataclasses.dataclass(frozen=True)
class Pin:
    """The versions of one package that work.

    Attributes:
      package: Name of the distribution.
      install: The version to install.
      at_least: The oldest version that works.
      below: The first newer version that does not work.
      reason: Why other versions do not work.
      required: Whether the package must be installed.

    """

    package: str
    install: str
    at_least: str
    below: str
    reason: str
    required: bool = True


_WITH_TFF = "TensorFlow Federated 0.87 is built for it"

PINS = (
    Pin(
        "tensorflow-federated",
        "0.87.0",
        "0.87",
        "0.88",
        "the computations are compiled by parts of TFF that change between releases",
    ),
    Pin("tensorflow", "2.14.1", "2.14", "2.15", _WITH_TFF),
    Pin("keras", "2.14.0", "2.14", "2.15", "TensorFlow 2.14 loads Keras 2.14 and no other"),
    Pin("tensorflow-text", "2.14.0", "2.14", "2.15", "its operators load into TensorFlow 2.14"),
    Pin("keras-nlp", "0.12.1", "0.12", "0.13", "0.14 and later need Keras 3"),
    Pin("tensorflow-privacy", "0.9.0", "0.9", "0.10", _WITH_TFF),
    Pin("dp-accounting", "0.4.3", "0.4.3", "0.5", _WITH_TFF + ", and epsilons are tested with it"),
    Pin(
        "jax",
        "0.4.13",
        "0.4.13",
        "0.4.15",
        "TensorFlow Federated requires 0.4.14, but the jaxlib of this version was withdrawn",
    ),
    Pin("jaxlib", "0.4.13", "0.4.13", "0.4.15", "it must match jax"),
    Pin(
        "protobuf",
        "4.25.8",
        "4.25",
        "5",
        "3.20 is pure Python on CPython 3.11, which makes computations compile several times "
        "slower; TensorFlow 2.14 refuses 5",
    ),
    Pin("numpy", "1.25.2", "1.25", "1.26", _WITH_TFF),
    Pin(
        "setuptools",
        "80.10.2",
        "60",
        "81",
        "tensorflow-hub needs pkg_resources, which 81 dropped; KerasNLP then finds no"
        " tensorflow-text",
    ),
    Pin(
        "pyarrow",
        "19.0.1",
        "10",
        "20",
        "newer ones need NumPy 2, and scikit-learn imports what it finds",
        required=False,
    ),
)

_OLDEST_PYTHON, _BELOW_PYTHON = (3, 10), (3, 12)


def _numbers(version: str) -> tuple[int, ...]:
    """Returns the release part of a version: (2, 14, 1) for "2.14.1.post2+cpu"."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match.group().split(".")) if match else ()


def problem_with(pin: Pin, installed: str | None) -> str | None:
    """Returns one line about the problem with an installed version, or None if it works.

    Args:
      pin: The versions that work.
      installed: The installed version. None if the package is not installed.

    """
    wanted = f"{pin.package}=={pin.install}"
    if installed is None:
        return f"{wanted} is not installed" if pin.required else None
    if _numbers(pin.at_least) <= _numbers(installed) < _numbers(pin.below):
        return None
    return (
        f"{pin.package} {installed} is installed, {wanted} is needed"
        f" (at least {pin.at_least}, below {pin.below}): {pin.reason}"
    )


def installed_version(package: str) -> str | None:
    """Returns the version in a package's metadata, or None if the package is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check(
    version_of: Callable[[str], str | None] = installed_version,
    python: tuple[int, ...] = tuple(sys.version_info[:2]),
) -> None:
    """Checks the versions of Python and of the packages in `PINS`.

    Args:
      version_of: Function package -> installed version, or None.
      python: Version of the running Python.

    Raises:
      WrongVersionError: If a version does not work. The message names each problem, its reason and
        the repair.

    """
    if not _OLDEST_PYTHON <= python[:2] < _BELOW_PYTHON:
        running = ".".join(map(str, python))
        raise WrongVersionError(
            [f"Python {running} is running, 3.10 or 3.11 is needed: {_WITH_TFF}"],
            "PYTHON=/path/to/python3.11 scripts/setup",
        )
    found = [(pin, problem_with(pin, version_of(pin.package))) for pin in PINS]
    violated = [(pin, problem) for pin, problem in found if problem is not None]
    if violated:
        # Without --no-deps, pip could change one package to meet the requirements of another one.
        packages = " ".join(f"{pin.package}=={pin.install}" for pin, _ in violated)
        raise WrongVersionError(
            [problem for _, problem in violated], f"pip install --no-deps {packages}"
        )
