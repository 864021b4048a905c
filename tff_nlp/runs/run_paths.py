"""The folder of a run."""

import hashlib
import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from tff_nlp.program import run_directory
from tff_nlp.runs import configs, user_folders

# Folder of the runs without `output_dir`.
_RUNS = pathlib.Path("runs")


def output_dir(
    flag: str, corpus: str, config: Mapping[str, Any], described: Collection[str] = ()
) -> pathlib.Path:
    """Returns `output_dir`, or a folder in runs/ that is the same for the same flags and texts.

    Args:
      flag: The value of `output_dir`.
      corpus: The value of `corpus`. It is part of the folder's name.
      config: The configuration, with fingerprints of the texts.
      described: Names in the configuration that only say where the texts are and how they are read.
    """
    if flag:
        return pathlib.Path(flag)
    facts = {name: value for name, value in config.items() if name not in described}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    stem = pathlib.PurePath(corpus.split(",")[0]).name.split(".")[0].strip("*") or "run"
    return _RUNS / f"{stem}-{digest[:8]}"


def check(flags: configs.PlaceConfig) -> None:
    """Refuses a folder that cannot be written or holds something else, before texts are read.

    Raises:
      UserError: If a folder is refused. The message names the flag and the reason.
    """
    user_folders.check_writable("output_dir", pathlib.Path(flags.output_dir or _RUNS))
    if flags.output_dir:
        run_directory.check_content(pathlib.Path(flags.output_dir))
    user_folders.check_writable("cache_dir", user_folders.cache_dir(flags.cache_dir))
