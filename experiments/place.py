"""Where a run lives on disk."""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any


def output_dir(flag: str, corpus: str, config: Mapping[str, Any]) -> pathlib.Path:
    """Returns --output_dir, or a folder below runs/ that the same flags and texts give again."""
    if flag:
        return pathlib.Path(flag)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    stem = pathlib.PurePath(corpus.split(",")[0]).name.split(".")[0].strip("*") or "run"
    return pathlib.Path("runs") / f"{stem}-{digest[:8]}"


def cache_dir(flag: str) -> pathlib.Path:
    """Returns --cache_dir, or ~/.cache/tff_nlp, or the same below $XDG_CACHE_HOME."""
    if flag:
        return pathlib.Path(flag)
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "tff_nlp"
