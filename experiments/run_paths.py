"""Where a run lives on disk."""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from experiments import paths, settings
from tff_nlp.program import run_directory

# Receives the runs for which no folder is named.
_RUNS = pathlib.Path("runs")


def output_dir(flag: str, corpus: str, config: Mapping[str, Any]) -> pathlib.Path:
    """Returns --output_dir, or a folder below runs/ that the same flags and texts give again.

    Args:
      flag: The value of --output_dir.
      corpus: The value of --corpus, whose name the folder bears.
      config: The configuration, with digests of the texts in place of where they are.
    """
    if flag:
        return pathlib.Path(flag)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    stem = pathlib.PurePath(corpus.split(",")[0]).name.split(".")[0].strip("*") or "run"
    return _RUNS / f"{stem}-{digest[:8]}"


def check(flags: settings.PlaceFlags) -> None:
    """Refuses, before any text is read, a place that cannot be written or holds something else.

    Raises:
      UserError: Naming the flag and what stands in the way.
    """
    paths.check_writable("output_dir", pathlib.Path(flags.output_dir or _RUNS))
    if flags.output_dir:
        run_directory.check_content(pathlib.Path(flags.output_dir))
    paths.check_writable("cache_dir", paths.cache_dir(flags.cache_dir))
