"""Trains the same classifier on all texts in one place: the upper bound of federated training.

  experiments/train_centralized.py --corpus=reviews.csv --epochs=2 --output_dir=runs/central

Plain Keras `fit`, written apart from the federated code, so that one checks the other. The curves
are over epochs; a run is short and starts anew when it was stopped.
"""

from experiments import startup  # noqa: F401

# isort: split
import time

from absl import flags

from experiments import entry, flag_groups, run_paths, settings

FLAGS = flags.FlagValues()
GROUPS = (
    settings.CorpusFlags,
    settings.ModelFlags,
    settings.ClientTrainingFlags,
    settings.CentralFlags,
    settings.PlaceFlags,
)
for _group in GROUPS:
    flag_groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    began = time.monotonic()
    groups = [flag_groups.parse(group, FLAGS) for group in GROUPS]
    run_paths.check(groups[GROUPS.index(settings.PlaceFlags)])
    print(f"loading   {FLAGS.corpus}", flush=True)
    from experiments import central_run  # After the flags, whose mistakes are told at once.

    central_run.CentralRun(*groups).run(began)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS, again="the same command starts anew")
