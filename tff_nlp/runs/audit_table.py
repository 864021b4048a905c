"""A table of the membership inference results of some runs."""

from collections.abc import Mapping, Sequence

from tff_nlp.printable import printable
from tff_nlp.privacy.membership import Attack
from tff_nlp.runs.membership_audit import Audit

_LONGEST_NAME = 40  # Characters of a label or client in the table.


def table(audits: Sequence[Audit]) -> list[str]:
    """Returns the lines of the table. Each run has a column."""
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
    "  against validation",
    "  against clients",
    "  against held_out",
    "  against undrawn",
    "threshold advantage",
    "logistic regression AUC",
    "logistic regression advantage",
    "labels",
    "clients",
)


def _findings(audit: Audit) -> dict[str, str]:
    """Returns the cells of a run by their titles."""
    clients = "" if audit.member_clients is None else f" of {audit.member_clients:,} clients"
    cells = {
        "privacy": audit.privacy.partition(" for one ")[0],
        "test accuracy": f"{audit.run.result['test']['accuracy']:.4f}",
        "members": f"{audit.available['members']:,}{clients}",
        "loss of members": f"{audit.member_loss:.4f}",
        "loss of others": f"{audit.other_loss:.4f}",
    }
    for name, attack in audit.overall.items():
        title = name.replace("_", " ")
        cells[f"{title} AUC"] = _area(attack)
        chance = "" if attack.chance is None else f" (chance {attack.chance:.4f})"
        cells[f"{title} advantage"] = f"{attack.advantage:.4f}{chance}"
    for source, attacks in audit.sources.items():
        cells[f"  against {source}"] = _area(attacks["threshold"])
    for title, groups in (("labels", audit.labels), ("clients", audit.clients)):
        if groups:
            cells[title] = _spread({n: attacks["threshold"] for n, attacks in groups.items()})
    return cells


def _area(attack: Attack) -> str:
    low, high = attack.interval
    return f"{attack.auc:.4f} ({low:.4f} to {high:.4f})"


def _spread(attacks: Mapping[str, Attack]) -> str:
    """Returns for how many labels or clients an attack succeeds, and where its AUC is highest."""
    successes = sum(attack.succeeds for attack in attacks.values())
    best = max(attacks, key=lambda name: attacks[name].auc)
    return (
        f"{successes} of {len(attacks)} above chance; highest {attacks[best].auc:.4f}"
        f" ({printable(best, _LONGEST_NAME)})"
    )
