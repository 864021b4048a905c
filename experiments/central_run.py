"""A central run from flags to result: what experiments/train_centralized.py does.

Here is what needs no TensorFlow, so that mistakes are told within seconds; the rest is in
experiments/central_training.py.
"""

import dataclasses

from experiments import data, flag_groups, result, run_paths, settings
from tff_nlp.program import configuration, run_directory


@dataclasses.dataclass(frozen=True)
class CentralRun:
    """The flags of a run, group by group."""

    corpus: settings.CorpusFlags
    model: settings.ModelFlags
    training: settings.ClientTrainingFlags
    central: settings.CentralFlags
    place: settings.PlaceFlags

    def run(self, began: float) -> None:
        """Trains; prints what it does and writes the results.

        Args:
          began: When the program started, by `time.monotonic`.

        Raises:
          UserError: Where a flag, a file or a row is wrong.
          RunError: If training diverges.
        """
        texts = data.load_data(self.corpus, self.central.seed, self.place.cache_dir)
        data.say("corpus", texts.describe())
        self = dataclasses.replace(self, training=self.training.resolved())
        recorded = (self.corpus, self.model, self.training, self.central)
        data.say("note", settings.without_effect(*recorded))
        config = {**flag_groups.record(*recorded), **texts.fingerprints()}
        described = flag_groups.record(self.corpus)
        path = run_paths.output_dir(
            self.place.output_dir,
            self.corpus.corpus,
            {name: value for name, value in config.items() if name not in described},
        )
        rules = configuration.Rules(described=described)
        with run_directory.RunDirectory(path, config, rules) as directory:
            if result.print_status(directory):
                return
            data.say("loading", ["TensorFlow and KerasNLP"])
            from experiments import central_training

            central_training.train(self, texts, directory, config, began)
