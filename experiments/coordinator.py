r"""Coordinates a federation over machines: silos train on their own texts, and send updates.

  experiments/enroll.py --output_dir=keys --silos=north,south,west --hosts=localhost
  experiments/coordinator.py --identity=keys/coordinator --labels=negative,positive \
    --trainable=head --rounds=10 --output_dir=runs/federation

Silos join with experiments/silo.py. The process is that of experiments/train.py with the same
flags. If the coordinator was stopped, the same command goes on from the last round.
docs/federation.md walks through a whole federation.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.deployment import refused_connections
from tff_nlp.runs import coordinated_run, reporter

FLAGS = flags.FlagValues()
GROUPS = groups.of_run(coordinated_run.CoordinatedRun)
for _group in GROUPS:
    groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    parsed = [groups.parse(group, FLAGS) for group in GROUPS]
    with refused_connections.reported(lambda line: reporter.say("refused", [line])):
        coordinated_run.run(coordinated_run.CoordinatedRun(*parsed))


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS, again="the same command goes on from the last round")
