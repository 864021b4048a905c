"""Membership inference on finished runs. Writes results and pictures, and prints a table."""

import pathlib
from collections.abc import Sequence

from tff_nlp import errors
from tff_nlp.privacy import membership
from tff_nlp.program import run_directory
from tff_nlp.runs import audit_picture, audit_table, membership_audit, reporter, saved_run

JSON, PICTURE, COMPARISON = "audit.json", "audit.png", "audit_comparison.png"


def audit_runs(
    folders: Sequence[pathlib.Path],
    *,
    comparison: pathlib.Path | None = None,
    max_examples: int = 4000,
    min_examples: int = 10,
    cache_dir: str = "",
) -> list[membership_audit.Audit]:
    """Attacks finished runs: do their models reveal which examples they were trained on?

    Args:
      folders: Folders of the runs. `JSON` and `PICTURE` are written into each folder.
      comparison: Path of a picture that compares all runs; None for no such picture.
      max_examples: Number of examples to score per run. Half of them are members.
      min_examples: Minimum number of members, and of other examples, of a label or client. Labels
        and clients with fewer are left out.
      cache_dir: Folder of token caches; empty for the user's default folder.

    Raises:
      UserError: If a folder has no finished run, or the run's texts have changed.
    """
    runs = [saved_run.load(folder, cache_dir) for folder in folders]
    membership.check_installed()
    audits = []
    for run, name in zip(runs, _names(folders), strict=True):
        audit = membership_audit.audit(
            run, name, max_examples=max_examples, min_examples=min_examples, cache_dir=cache_dir
        )
        limits = {"max_examples": max_examples, "min_examples": min_examples}
        run_directory.write_json(run.folder / JSON, {**limits, **audit.to_json()})
        audit_picture.draw([audit], run.folder / PICTURE)
        audits.append(audit)
    reporter.show(audit_table.table(audits))
    reporter.say("saved", [f"{errors.verbatim(folder)}: {JSON}, {PICTURE}" for folder in folders])
    if comparison is not None:
        audit_picture.draw(audits, comparison)
        reporter.say("saved", [errors.verbatim(comparison)])
    return audits


def _names(folders: Sequence[pathlib.Path]) -> list[str]:
    """Returns the names of the folders, or their whole paths if the names are not distinct."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]
