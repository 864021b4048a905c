"""Computes a published table, and shows ours beside the published numbers.

  experiments/reproduce.py --list
  experiments/reproduce.py mcmahan2018
  experiments/reproduce.py basu2021 --scale=small --data_dir=corpora --output_dir=runs/basu

It writes reproduction.html and reproduction.md, a picture for each table, and reproduction.json.
Each run has its own folder in --output_dir, with its report. Its model is not kept, unless the
paper attacks it. If the script was stopped, the same command continues it, and no number is
computed twice. Each result remembers the SHA-256 of its files, and a folder with results of other
files is refused. docs/reproduced.md shows the results.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
import pathlib

from absl import flags

from experiments import papers
from experiments.command_line import entry
from experiments.flags import paths
from tff_nlp.errors import UserError, verbatim
from tff_nlp.runs import paper, reporter, text_table

FLAGS = flags.FlagValues()
_OWN = {"flag_values": FLAGS}
flags.DEFINE_boolean("list", False, "List the papers, and what they need.", **_OWN)
flags.DEFINE_enum(
    "scale",
    "small",
    paper.SCALES,
    "smoke: a tiny network, to see that everything works; small: within an hour on two cores; "
    "full: the paper's own setting, for a GPU.",
    **_OWN,
)
flags.DEFINE_string("data_dir", "corpora", "Folder with the corpora that --list names.", **_OWN)
flags.DEFINE_string("output_dir", "", "Folder of the results; empty: runs/PAPER-SCALE.", **_OWN)
flags.DEFINE_string(
    "cells", "*", "Patterns of the cells to train, separated by semicolons.", **_OWN
)
flags.DEFINE_string(
    "collect_to",
    "",
    "Compute nothing: the arguments are folders of results, which become one page in this folder.",
    **_OWN,
)


def main(names: list[str]) -> None:
    """Computes the table of the paper that is the argument."""
    if FLAGS.list:
        if names:
            raise UserError(f"--list: lists all papers; leave {verbatim(names[0])} out")
        reporter.show(listed())
        return
    if FLAGS.collect_to:
        from tff_nlp.runs import reproduced_pages

        folders = [paths.of_flag("collect_to", name) for name in names]
        reproduced_pages.collect(folders, paths.of_flag("collect_to", FLAGS.collect_to))
        return
    if len(names) != 1:
        raise UserError(f"name one paper: {', '.join(papers.NAMES)}")
    [name] = names
    published = papers.load(name)
    from tff_nlp.runs import reproduction  # Slow, so after the flags are checked.

    reproduction.reproduce(
        name,
        published,
        FLAGS.scale,
        data_dir=paths.of_flag("data_dir", FLAGS.data_dir),
        output_dir=paths.of_flag("output_dir", FLAGS.output_dir or f"runs/{name}-{FLAGS.scale}"),
        chosen=FLAGS.cells,
    )


def listed() -> list[str]:
    """Returns the lines of --list."""
    rows = [["paper", "numbers", "on two cores", "what", "files in --data_dir"]]
    for name in papers.NAMES:
        published = papers.load(name)
        count = sum(1 for _ in published.cells())
        files = ", ".join(str(pathlib.PurePath(file.path)) for file in published.files)
        rows.append(
            [name, str(count), published.scale("small").cost, published.title, files or "none"]
        )
    return text_table.aligned(rows)


if __name__ == "__main__":
    entry.run(
        main,
        FLAGS,
        takes_arguments=True,
        again="the same command goes on where it was stopped",
    )
