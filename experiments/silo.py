r"""Takes part in a federation with the texts of this machine, which stay here.

  experiments/silo.py --coordinator=host:8470 --identity=keys/silos/north --silo_dir=north \
    --corpus=north.csv --approve
  experiments/silo.py --coordinator=host:8470 --identity=keys/silos/north --silo_dir=north \
    --corpus=north.csv

The first command shows what the coordinator asks for, builds the computation here, compares both,
and stores the approval. The second one takes part, and refuses everything else than what was
approved. docs/federation.md walks through a whole federation.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.runs import silo_run

FLAGS = flags.FlagValues()
GROUPS = groups.of_run(silo_run.SiloRun)
for _group in GROUPS:
    groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    silo_run.run(silo_run.SiloRun(*(groups.parse(group, FLAGS) for group in GROUPS)))


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS, again="the same command takes part again")
