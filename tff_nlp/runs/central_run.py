"""A central run from its config to its result: the upper bound of federated training.

This file needs no TensorFlow, so that mistakes are found within seconds. central_training.py has
the part that needs it.
"""

import dataclasses
import time

from tff_nlp.program import configuration, run_directory
from tff_nlp.runs import configs, data, options, reporter, result, run_paths


def run(
    config: configs.CentralRun, began: float | None = None, *, keeps_model: bool = True
) -> None:
    """Trains, prints messages and writes the results.

    Args:
      config: The configuration.
      began: Start time of the program, from `time.monotonic`; None for now.
      keeps_model: Whether the trained model is written. Without it, the run has only its figures.

    Raises:
      UserError: If a flag, a file or a row is wrong.
      RunError: If training diverges.
    """
    began = time.monotonic() if began is None else began
    texts = data.load_data(config.corpus, config.central.seed, config.place.cache_dir)
    reporter.say("corpus", texts.describe())
    config = dataclasses.replace(
        config,
        training=config.training.resolved(has_adapter=config.model.has_adapter),
        model=config.model.resolved(config.corpus.task),
    )
    recorded = (config.corpus, config.model, config.training, config.central)
    reporter.say("note", configs.without_effect(*recorded))
    saved = {**options.record(*recorded), **texts.fingerprints()}
    described = options.record(config.corpus)
    path = run_paths.output_dir(config.place.output_dir, config.corpus.corpus, saved, described)
    rules = configuration.Rules(described=described)
    with run_directory.RunDirectory(path, saved, rules) as directory:
        if result.print_status(directory):
            return
        reporter.say("loading", ["TensorFlow and KerasNLP"])
        from tff_nlp.runs import central_training

        central_training.train(config, texts, directory, saved, began, keeps_model=keeps_model)
