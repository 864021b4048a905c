"""A federated run from flags to result: what experiments/train.py does.

Here is what needs no TensorFlow, so that a mistake in flags or files, or a run that is finished
already, is told within seconds; experiments/federated_training.py has the rest.
"""

import dataclasses

from experiments import (
    alone,
    data,
    flag_groups,
    privacy_flags,
    privacy_plan,
    quantized_rounds,
    result,
    run_paths,
    secure_rounds,
    settings,
)
from tff_nlp.program import configuration, run_directory


@dataclasses.dataclass(frozen=True)
class FederatedRun:
    """The flags of a run, group by group; --partition=auto is resolved by `run`."""

    corpus: settings.CorpusFlags
    clients: settings.ClientFlags
    model: settings.ModelFlags
    client_training: settings.ClientTrainingFlags
    federated: settings.FederatedFlags
    rounds: settings.RunFlags
    privacy: privacy_flags.PrivacyFlags
    place: settings.PlaceFlags
    execution: settings.ExecutionFlags

    def run(self, began: float) -> None:
        """Trains, or goes on training; prints what it does and writes the results.

        Args:
          began: When the program started, by `time.monotonic`.

        Raises:
          UserError: Where a flag, a file or a row is wrong.
          RunError: If training fails.
        """
        seed = self.rounds.seed
        texts = data.load_data(self.corpus, seed, self.place.cache_dir)
        data.say("corpus", texts.describe())
        clients = data.resolve_partition(self.clients, texts.train)
        resolved = privacy_plan.resolve(dataclasses.replace(self, clients=clients))
        data.say("note", settings.without_effect(*resolved.recorded()))
        whole, split = data.split_clients(clients, texts.train, seed)
        data.say("clients", [whole.summary(), split.summary()])
        alone.clients(resolved, texts.train, split)
        quantized_rounds.check(resolved)
        secure_rounds.check(resolved)
        plan = None
        if self.privacy.dp != privacy_flags.NONE:
            plan = privacy_plan.plan(resolved, split.train)
            data.say("privacy", plan.lines)
        config = {**flag_groups.record(*resolved.recorded()), **texts.fingerprints()}
        described = flag_groups.record(self.corpus)
        path = run_paths.output_dir(
            self.place.output_dir,
            self.corpus.corpus,
            {name: value for name, value in config.items() if name not in described},
        )
        rules = configuration.Rules(
            # The devices of this machine are known later; other devices would give other sums.
            late=["devices"],
            described=described,
            growing={"rounds": resolved.why_not_longer()},
        )
        with run_directory.RunDirectory(path, config, rules) as directory:
            if result.print_status(directory):
                return
            data.say("loading", ["TensorFlow and TensorFlow Federated"])
            from experiments import federated_training

            if plan is not None:
                rounds = dataclasses.replace(self.rounds, rounds=plan.rounds)
                resolved = dataclasses.replace(resolved, rounds=rounds)
            federated_training.train(resolved, texts, split, directory, config, began, plan)

    def why_not_longer(self) -> str:
        """Returns why more rounds cannot be added to this run later; empty if they can."""
        if self.federated.decay_learning_rate:
            return "--decay_learning_rate lets the learning rate reach 0 at the last round"
        if self.privacy.target_epsilon is not None and self.privacy.noise_multiplier is None:
            return "the noise that --target_epsilon found is for so many rounds"
        return ""

    def recorded(self) -> tuple[object, ...]:
        """Returns the groups that are part of the configuration: all but where things are."""
        return tuple(
            getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "place"
        )
