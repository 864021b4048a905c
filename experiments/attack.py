r"""Attacks the updates of a run's clients, to show which protections hide their texts.

  experiments/attack.py --run=runs/reviews
  experiments/attack.py --run=runs/reviews --scenarios=unprotected,adamw,example_noise --sentences=4

It trains single clients of the run as in its first round, takes only what the server would see, and
reconstructs texts by DAGER. Use it on your own corpus, to choose protections. It writes
text_attack.json and text_attack.png into the run's folder, and the texts into its private folder.
docs/text_attack.md explains the numbers.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import groups, paths
from tff_nlp.errors import UserError
from tff_nlp.runs import configs

FLAGS = flags.FlagValues()
_OWN = {"flag_values": FLAGS}
flags.DEFINE_string("run", "", "Folder of the finished run.", **_OWN)
flags.DEFINE_string(
    "cache_dir",
    "",
    "Token caches, shared by runs; empty: tff_nlp below $XDG_CACHE_HOME or ~/.cache.",
    **_OWN,
)
groups.define(configs.InversionConfig, FLAGS)


def main() -> None:
    """Runs the script."""
    options = groups.parse(configs.InversionConfig, FLAGS)
    if not FLAGS.run:
        raise UserError("--run is needed: the folder of a finished run")
    folder = paths.of_flag("run", FLAGS.run)
    entry.print_progress(f"loading {folder}")
    from tff_nlp.runs import inversion  # Slow, so after the flags are checked.

    inversion.attack(folder, options, paths.expand("cache_dir", FLAGS.cache_dir))


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=(configs.InversionConfig,))
