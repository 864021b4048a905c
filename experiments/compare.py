"""Compares finished runs: settings, curves, scores over seeds, and whether they really differ.

  experiments/compare.py runs/fedavg runs/fedprox
  experiments/compare.py --output_dir=runs/comparison runs/a-seed0 runs/a-seed1 runs/b-seed0

Runs that differ in the seed only count as one method. It writes comparison.html, which opens
without a network, comparison.json and comparison.png. docs/comparing.md explains the tests.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import paths
from tff_nlp.errors import UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "output_dir",
    "runs/comparison",
    "Folder for the page, the figures and the picture.",
    flag_values=FLAGS,
)


def main(folders: list[str]) -> None:
    """Compares the runs whose folders are the arguments."""
    if len(folders) < 2:
        raise UserError("name the folders of two or more finished runs")
    twice = [folder for folder in folders if folders.count(folder) > 1]
    if twice:
        raise UserError(f"{twice[0]}: given twice")
    from tff_nlp.runs import comparison

    found = [paths.of_flag("run", folder) for folder in folders]
    comparison.compare(found, paths.of_flag("output_dir", FLAGS.output_dir))


if __name__ == "__main__":
    entry.run(main, FLAGS, takes_arguments=True)
