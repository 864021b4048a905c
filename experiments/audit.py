"""Asks of finished runs whether examples they trained on can be told from others.

  experiments/audit.py --run=runs/reviews
  experiments/audit.py --run=runs/plain --run=runs/private

Writes audit.json and audit.png into each run's folder; several runs are printed side by side and
drawn into one picture more. docs/audit.md says what the numbers mean, and what they do not prove.
"""

from experiments import startup  # noqa: F401

# isort: split
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from absl import flags

from experiments import data, entry, paths
from tff_nlp.errors import UserError
from tff_nlp.printable import printable

if TYPE_CHECKING:
    from experiments.membership_audit import Audit
    from tff_nlp.privacy.membership import Attack

FLAGS = flags.FlagValues()
_OWN = {"flag_values": FLAGS}

flags.DEFINE_multi_string("run", [], "A run's folder; repeat it, or separate by commas.", **_OWN)
flags.DEFINE_integer(
    "max_examples", 4000, "Examples to score per run, half of them members.", lower_bound=2, **_OWN
)
flags.DEFINE_integer(
    "min_examples",
    10,
    "Labels and clients with fewer members or others are left out.",
    lower_bound=2,
    **_OWN,
)
flags.DEFINE_string(
    "comparison",
    "",
    "The picture of several runs; empty: audit_comparison.png in the first one's folder.",
    **_OWN,
)
flags.DEFINE_string(
    "cache_dir",
    "",
    "Token caches, shared by runs; empty: tff_nlp below $XDG_CACHE_HOME or ~/.cache.",
    **_OWN,
)

_LONGEST_NAME = 40  # Of a label or client in the table.
JSON, PICTURE, COMPARISON = "audit.json", "audit.png", "audit_comparison.png"


def main() -> None:
    """Audits the runs that the flags name."""
    folders = _folders()
    comparison = _comparison(folders)
    entry.print_progress(f"loading {', '.join(map(str, folders))}")
    from experiments import saved_run
    from tff_nlp.privacy import membership

    runs = [saved_run.load(folder, FLAGS.cache_dir) for folder in folders]
    membership.check_installed()
    from experiments import audit_picture, membership_audit
    from tff_nlp.program import run_directory

    audits = []
    for run, name in zip(runs, _names(folders), strict=True):
        audit = membership_audit.audit(
            run,
            name,
            max_examples=FLAGS.max_examples,
            min_examples=FLAGS.min_examples,
            cache_dir=FLAGS.cache_dir,
        )
        limits = {"max_examples": FLAGS.max_examples, "min_examples": FLAGS.min_examples}
        run_directory.write_json(run.folder / JSON, {**limits, **audit.to_json()})
        audit_picture.draw([audit], run.folder / PICTURE)
        audits.append(audit)
    print("\n".join(table(audits)))
    data.say("saved", [f"{folder}: {JSON}, {PICTURE}" for folder in folders])
    if comparison is not None:
        audit_picture.draw(audits, comparison)
        data.say("saved", [str(comparison)])


def table(audits: "Sequence[Audit]") -> list[str]:
    """Returns the findings in lines, one column for each run."""
    columns = [_findings(audit) for audit in audits]
    titles = [title for title in _TITLES if any(title in column for column in columns)]
    cells = [["", *(audit.name for audit in audits)]]
    cells += [[title, *(column.get(title, "-") for column in columns)] for title in titles]
    widths = [max(len(row[column]) for row in cells) for column in range(len(audits) + 1)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


_TITLES = (
    "privacy",
    "test accuracy",
    "members",
    "loss of members",
    "loss of others",
    "threshold AUC",
    "  against test",
    "  against clients",
    "  against held_out",
    "  against undrawn",
    "threshold advantage",
    "logistic regression AUC",
    "logistic regression advantage",
    "labels",
    "clients",
)


def _findings(audit: "Audit") -> dict[str, str]:
    """Returns the cells of a run by their titles."""
    clients = "" if audit.member_clients is None else f" of {audit.member_clients:,} clients"
    found = {
        "privacy": audit.privacy.partition(" for one ")[0],
        "test accuracy": f"{audit.run.result['test']['accuracy']:.4f}",
        "members": f"{audit.available['members']:,}{clients}",
        "loss of members": f"{audit.member_loss:.4f}",
        "loss of others": f"{audit.other_loss:.4f}",
    }
    for name, attack in audit.overall.items():
        title = name.replace("_", " ")
        found[f"{title} AUC"] = _area(attack)
        chance = "" if attack.chance is None else f" (chance {attack.chance:.4f})"
        found[f"{title} advantage"] = f"{attack.advantage:.4f}{chance}"
    for source, attacks in audit.sources.items():
        found[f"  against {source}"] = _area(attacks["threshold"])
    for title, groups in (("labels", audit.labels), ("clients", audit.clients)):
        if groups:
            found[title] = _spread({n: attacks["threshold"] for n, attacks in groups.items()})
    return found


def _area(attack: "Attack") -> str:
    low, high = attack.interval
    return f"{attack.auc:.4f} ({low:.4f} to {high:.4f})"


def _spread(attacks: "Mapping[str, Attack]") -> str:
    """Returns how many of some labels or clients an attack finds, and which it finds best."""
    found = sum(attack.succeeds for attack in attacks.values())
    best = max(attacks, key=lambda name: attacks[name].auc)
    return (
        f"{found} of {len(attacks)} above chance; highest {attacks[best].auc:.4f}"
        f" ({printable(best, _LONGEST_NAME)})"
    )


def _folders() -> list[pathlib.Path]:
    names = [name.strip() for value in FLAGS.run for name in value.split(",") if name.strip()]
    if not names:
        raise UserError("--run is needed: the folder of a finished run")
    folders = [paths.of_flag("run", name) for name in names]
    twice = {str(folder) for folder in folders if folders.count(folder) > 1}
    if twice:
        raise UserError(f"--run={sorted(twice)[0]}: given twice")
    for folder in folders:
        for part in (JSON, PICTURE):
            _check_file("run", folder / part)
    return folders


def _comparison(folders: Sequence[pathlib.Path]) -> pathlib.Path | None:
    """Returns where the picture of several runs goes, None of one."""
    if len(folders) == 1:
        if FLAGS.comparison:
            raise UserError(f"--comparison={FLAGS.comparison}: there is one run only")
        return None
    path = folders[0] / COMPARISON
    if FLAGS.comparison:
        path = paths.of_flag("comparison", FLAGS.comparison)
        if not path.parent.is_dir():
            raise UserError(f"--comparison={path}: there is no folder {path.parent}")
    _check_file("comparison", path)
    return path


def _check_file(flag: str, path: pathlib.Path) -> None:
    """Refuses, before the work, a file that could not be written at its end."""
    if path.is_dir():
        raise UserError(f"--{flag}={path}: is a folder; a file is written there")
    if path.parent.is_dir():
        paths.check_writable(flag, path.parent)


def _names(folders: Sequence[pathlib.Path]) -> list[str]:
    """Returns the folders' last names, or their paths where those are not distinct."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


if __name__ == "__main__":
    entry.run(main, FLAGS)
