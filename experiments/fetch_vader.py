"""Fetches the data of --corpus=vader from the package index. scripts/setup also does this.

experiments/fetch_vader.py
experiments/fetch_vader.py --cache_dir=/data/cache
"""

from experiments.command_line import startup  # noqa: F401
from tff_nlp.runs import reporter, user_folders

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import paths
from tff_nlp.corpora import vader

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "cache_dir", "", "Folder for the data, as in experiments/train.py.", flag_values=FLAGS
)


def main() -> None:
    """Runs the script."""
    folder = user_folders.cache_dir(paths.expand("cache_dir", FLAGS.cache_dir))
    user_folders.check_writable("cache_dir", folder)
    vader.fetch(folder)
    reporter.say("saved", [f"{folder}: the sentences of --corpus=vader"])


if __name__ == "__main__":
    entry.run(main, FLAGS)
