"""report.html: a run on one page that opens without a network. Only the run's owner may read it."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp.printable import printable
from tff_nlp.program import run_directory
from tff_nlp.runs import configs, options, pages, sent_bytes

# File -> what it shows.
_PICTURES = {
    run_directory.CURVES: "Loss and score over the rounds",
    "confusion.png": "Confusion of the labels on the test texts",
    run_directory.CLIENTS: "Texts and labels of the clients",
    run_directory.PERSONAL_PICTURE: "Scores of the clients' own models",
    run_directory.CLOCK: "Score over the time on devices",
}
_NO_PRIVACY = (
    "No differential privacy: nothing limits what the final model or an update says about a single "
    "client."
)


def build(
    folder: pathlib.Path,
    title: str,
    result: Mapping[str, Any],
    rows: Sequence[Mapping[str, str]],
    texts: Mapping[str, pages.Table],
) -> str:
    """Returns the page as HTML.

    Args:
      folder: Folder of the run, with its pictures.
      title: Name of the corpus.
      result: The content of result.json.
      rows: The rows of metrics.csv.
      texts: Tables of test texts, by heading.
    """
    title = f"Run on {printable(title)}"
    blocks: list[pages.Block] = [
        pages.Heading(title, 1),
        pages.Lines([printable(line) for line in result["summary"]]),
        pages.Heading("What was run"),
        *_settings(result["config"]),
    ]
    for name, says in _PICTURES.items():
        if (folder / name).exists():
            blocks += [
                pages.Heading(says),
                pages.Picture((folder / name).read_bytes(), name, says),
            ]
    blocks += [*_clients(result), *_privacy(result), *_bytes(result, rows)]
    for heading, table in texts.items():
        blocks += [pages.Heading(heading), table]
    return pages.to_html(title, [*blocks, pages.Heading("Where it comes from"), _origin(result)])


def _settings(config: Mapping[str, Any]) -> list[pages.Block]:
    default = _defaults()
    changed = [
        [name, pages.setting(value), pages.setting(default[name])]
        for name, value in config.items()
        if name in default and value != default[name]
    ]
    everything = [[name, pages.setting(value)] for name, value in config.items()]
    return [
        pages.Text("Settings that are not the default, with what auto was replaced by:"),
        pages.Table(["setting", "value", "default"], changed),
        pages.Table(["setting", "value"], everything, folded="All settings"),
    ]


def _defaults() -> dict[str, Any]:
    """Returns the default of each option of a federated or a central run."""
    return {
        field.name: field.default
        for run in (configs.CentralRun, configs.FederatedRun)
        for group in options.groups_of(run).values()
        for field in dataclasses.fields(group)
    }


def _clients(result: Mapping[str, Any]) -> list[pages.Block]:
    """Returns how even the scores are over clients."""
    parts = {
        "own tests of training clients": result.get("clients", {}).get("over_clients"),
        "clients that never trained": result.get("held_out", {}).get("over_clients"),
        "final model, clients with own models": result.get("personal", {}).get("before"),
        "own models of clients": result.get("personal", {}).get("after"),
    }
    known = {name: values for name, values in parts.items() if values}
    if not known:
        return []
    columns = ("mean", "worst_decile", "standard_deviation")
    rows = [[name, *(f"{values[c]:.4f}" for c in columns)] for name, values in known.items()]
    header = ["", "mean", "mean of the worst tenth", "standard deviation"]
    return [pages.Heading("Scores over clients"), pages.Table(header, rows)]


def _privacy(result: Mapping[str, Any]) -> list[pages.Block]:
    if "bytes_per_client" not in result:
        return []  # Central training has no clients.
    stated = result.get("privacy")
    if stated is None:
        return [pages.Heading("Privacy"), pages.Text(_NO_PRIVACY)]
    audited = [pages.Text(printable(result["audit"]["line"]))] if "audit" in result else []
    plain = [
        [name, printable(str(value))]
        for name, value in stated.items()
        if name != "line" and not isinstance(value, dict | list)
    ]
    return [
        pages.Heading("Privacy"),
        pages.Text(printable(stated["line"])),
        *audited,
        pages.Table(["", "value"], plain, folded="The statement"),
    ]


def _bytes(result: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> list[pages.Block]:
    """Returns the bytes of a client, and of all clients and rounds."""
    sent = result.get("bytes_per_client")
    if sent is None:
        return []
    kinds = (
        ("to a client: weights", "down"),
        ("to a client: everything else", "other_down"),
        ("from a client: its update", "up"),
        ("from a client: everything else", "other_up"),
    )
    lines = []
    for name, key in kinds:
        amount = {"down": 0, "up": 0, key.removeprefix("other_"): sent[key]}
        total = sent_bytes.cumulative(rows, **amount)[-1] if rows else 0
        lines.append([name, f"{sent[key]:,}", f"{total:,}"])
    lines.append(["to a client once: frozen weights", f"{sent['once']:,}", ""])
    header = ["bytes", "a client in a round", "all clients and rounds"]
    return [pages.Heading("Bytes"), pages.Table(header, lines)]


def _origin(result: Mapping[str, Any]) -> pages.Table:
    rows = [[f"version of {name}", str(value)] for name, value in result["versions"].items()]
    rows += [[f"SHA-256 of {name}", str(value)] for name, value in result["fingerprints"].items()]
    rows.append(["seconds of all rounds", f"{result['seconds']['total']:,.1f}"])
    return pages.Table(["", "value"], rows)
