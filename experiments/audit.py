"""Audits finished runs: can an attacker tell which examples they were trained on?

  experiments/audit.py --run=runs/reviews
  experiments/audit.py --run=runs/plain --run=runs/private

Writes audit.json and audit.png into each run's folder. Several runs are printed side by side, and
one more plot compares them. docs/audit.md explains what the numbers mean and what they do not
prove.
"""

from experiments.command_line import startup  # noqa: F401
from tff_nlp.runs import user_folders

# isort: split
import pathlib
from collections.abc import Sequence

from absl import flags

from experiments.command_line import entry
from experiments.flags import paths
from tff_nlp.errors import UserError, setting, verbatim

FLAGS = flags.FlagValues()
_OWN = {"flag_values": FLAGS}

flags.DEFINE_multi_string("run", [], "A run's folder; repeat it, or separate by commas.", **_OWN)
flags.DEFINE_integer(
    "max_examples", 4000, "Examples to score per run, half of them members.", lower_bound=2, **_OWN
)
flags.DEFINE_integer(
    "min_examples",
    10,
    "Minimum number of members, and of non-members, of a label or client in the audit.",
    lower_bound=2,
    **_OWN,
)
flags.DEFINE_string(
    "comparison",
    "",
    "Plot that compares several runs; empty: audit_comparison.png in the first run's folder.",
    **_OWN,
)
flags.DEFINE_string(
    "cache_dir",
    "",
    "Token caches, shared by runs; empty: tff_nlp below $XDG_CACHE_HOME or ~/.cache.",
    **_OWN,
)

JSON, PICTURE, COMPARISON = "audit.json", "audit.png", "audit_comparison.png"


def main() -> None:
    """Audits the runs that the flags name."""
    folders = _folders()
    comparison = _comparison(folders)
    entry.print_progress(f"loading {', '.join(map(str, folders))}")
    from tff_nlp.runs import audits

    audits.audit_runs(
        folders,
        comparison=comparison,
        max_examples=FLAGS.max_examples,
        min_examples=FLAGS.min_examples,
        cache_dir=paths.expand("cache_dir", FLAGS.cache_dir),
    )


def _folders() -> list[pathlib.Path]:
    names = [name.strip() for value in FLAGS.run for name in value.split(",") if name.strip()]
    if not names:
        raise UserError("--run is needed: the folder of a finished run")
    folders = [paths.of_flag("run", name) for name in names]
    twice = {str(folder) for folder in folders if folders.count(folder) > 1}
    if twice:
        raise UserError(f"{setting('run', sorted(twice)[0])}: given twice")
    for folder in folders:
        for part in (JSON, PICTURE):
            _check_file("run", folder / part)
    return folders


def _comparison(folders: Sequence[pathlib.Path]) -> pathlib.Path | None:
    """Returns the path of the plot that compares several runs, or None for one run."""
    if len(folders) == 1:
        if FLAGS.comparison:
            raise UserError(f"{setting('comparison', FLAGS.comparison)}: there is one run only")
        return None
    path = folders[0] / COMPARISON
    if FLAGS.comparison:
        path = paths.of_flag("comparison", FLAGS.comparison)
        if not path.parent.is_dir():
            raise UserError(
                f"{setting('comparison', path)}: there is no folder {verbatim(path.parent)}"
            )
    _check_file("comparison", path)
    return path


def _check_file(flag: str, path: pathlib.Path) -> None:
    """Checks, before the audit, that a file can be written after it."""
    if path.is_dir():
        raise UserError(f"{setting(flag, path)}: is a folder; a file is written there")
    if path.parent.is_dir():
        user_folders.check_writable(flag, path.parent)


if __name__ == "__main__":
    entry.run(main, FLAGS)
