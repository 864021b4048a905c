"""Flags of benchmarks that are lists."""

from tff_nlp.errors import UserError


def counts(flag: str, text: str) -> list[int]:
    """Returns the whole numbers of a flag.

    Args:
      flag: Name of the flag.
      text: Its value, numbers separated by commas.

    Raises:
      UserError: If a part is no whole number from 1 on.
    """
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise UserError(f"--{flag}={text}: must be numbers from 1 on")
    return [int(part) for part in parts]
