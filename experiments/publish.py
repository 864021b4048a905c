"""Copies the public parts of a finished run: its model, its privacy guarantee and its settings.

  experiments/publish.py --run=runs/reviews --to=published/reviews

It copies nothing else: no seed (it reveals which clients took part), no paths, fingerprints, scores
of clients, measurements without noise, checkpoints or logs. docs/publishing.md explains why.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import paths
from tff_nlp.errors import UserError
from tff_nlp.runs import publication

FLAGS = flags.FlagValues()
_OWN = {"flag_values": FLAGS}

flags.DEFINE_string("run", "", "Folder of a finished run.", **_OWN)
flags.DEFINE_string("to", "", "New folder for the copy. Other users may read it.", **_OWN)


def main() -> None:
    """Publishes the run that the flags name."""
    for name in ("run", "to"):
        if not FLAGS[name].value:
            raise UserError(f"--{name}: must be given")
    publication.publish(*(paths.of_flag(name, FLAGS[name].value) for name in ("run", "to")))


if __name__ == "__main__":
    entry.run(main, FLAGS)
