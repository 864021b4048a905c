"""The page of a comparison of runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp.runs import pages


def build(found: Mapping[str, Any], picture: bytes, privacy: Sequence[str]) -> str:
    """Returns the page as HTML.

    Args:
      found: The content of comparison.json.
      picture: The PNG file.
      privacy: The line of each run's privacy statement; empty without one.
    """
    measure = found["measure"]
    folders = [run["folder"] for run in found["runs"]]
    settings = [
        [name, *map(pages.setting, values)] for name, values in found["different_settings"].items()
    ]
    scores = [
        [group["label"], _number(group["mean"]), _number(group["standard_deviation"])]
        + [str(len(group["folders"]))]
        for group in found["groups"]
    ]
    tests = [
        [t["one"], t["other"], f"{t['difference']:+.4f}", f"{t['p_value']:.2g}", t["method"]]
        for t in found["tests"]
    ]
    private = [[folder, line] for folder, line in zip(folders, privacy, strict=True) if line]
    blocks: list[pages.Block] = [
        pages.Heading("Comparison of runs", 1),
        pages.Heading(f"Test {measure}"),
        pages.Table(["runs", "mean", "standard deviation over seeds", "seeds"], scores),
        pages.Picture(picture, "", f"Test {measure} over rounds, bytes and seconds"),
        pages.Heading("Do they differ?"),
        pages.Table(["first", "second", "difference", "p", "test"], tests)
        if tests
        else pages.Text(
            "There is no test: it takes two seeds of each, or runs with one seed that have "
            "predicted the same texts."
        ),
        pages.Text(
            "All p-values are adjusted for the number of tests (Holm 1979). A test over texts of "
            "one seed does not know how much scores change with the seed."
        ),
        pages.Heading("Settings that differ"),
        pages.Table(["setting", *folders], settings)
        if settings
        else pages.Text("None but the seed."),
    ]
    if private:
        blocks += [pages.Heading("Privacy"), pages.Table(["run", "statement"], private)]
    return pages.to_html("Comparison of runs", blocks)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
