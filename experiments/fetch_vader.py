"""Fetches what --corpus=vader reads from the package index, as scripts/setup does.

experiments/fetch_vader.py
experiments/fetch_vader.py --cache_dir=/data/cache
"""

from experiments import startup  # noqa: F401

# isort: split
from absl import flags

from experiments import data, entry, paths
from tff_nlp.corpora import vader

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "cache_dir", "", "Receives it, as --cache_dir of experiments/train.py.", flag_values=FLAGS
)


def main() -> None:
    """Runs the script."""
    folder = paths.cache_dir(FLAGS.cache_dir)
    paths.check_writable("cache_dir", folder)
    vader.fetch(folder)
    data.say("saved", [f"{folder}: the sentences of --corpus=vader"])


if __name__ == "__main__":
    entry.run(main, FLAGS)
