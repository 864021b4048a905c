"""Published tables, one file a paper. Each file has `PAPER`, a `runs.paper.Paper`."""

import importlib
import pkgutil

from tff_nlp import errors
from tff_nlp.runs import paper

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(name: str) -> paper.Paper:
    """Returns a paper.

    Raises:
      UserError: If there is no such paper.
    """
    if name not in NAMES:
        raise errors.UserError(f"{errors.verbatim(name)}: the papers are {', '.join(NAMES)}")
    module = importlib.import_module(f"{__name__}.{name}")
    found: paper.Paper = module.PAPER
    return found
