"""The folders of a run and of its caches."""

import dataclasses

from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class PlaceConfig:
    """Folders."""

    output_dir: str = option(
        "",
        "Folder of the run; empty: a folder in runs/ with a name made of corpus and flags.",
        path=True,
    )
    cache_dir: str = option(
        "",
        "Folder of token caches, for all runs; empty: tff_nlp in $XDG_CACHE_HOME or ~/.cache.",
        path=True,
    )
