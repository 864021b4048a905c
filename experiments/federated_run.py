"""A federated run from flags to result: what experiments/train.py does.

Here is what needs no TensorFlow, so that a mistake in flags or files, or a run that is finished
already, is told within seconds; experiments/federated_training.py has the rest.
"""

import dataclasses

from experiments import (
    data,
    flag_groups,
    place,
    privacy_flags,
    privacy_plan,
    quantized_rounds,
    result,
    secure_rounds,
    settings,
)
from tff_nlp.program import run_directory


@dataclasses.dataclass(frozen=True)
class FederatedRun:
    """The flags of a run, group by group; --partition=auto is resolved by `run`."""

    corpus: settings.CorpusFlags
    clients: settings.ClientFlags
    model: settings.ModelFlags
    client_training: settings.ClientTrainingFlags
    federated: settings.FederatedFlags
    privacy: privacy_flags.PrivacyFlags
    rounds: settings.RunFlags
    execution: settings.ExecutionFlags
    place: settings.PlaceFlags

    def run(self, began: float) -> None:
        """Trains, or goes on training; prints what it does and writes the results.

        Args:
          began: When the program started, by `time.monotonic`.

        Raises:
          UserError: Where a flag, a file or a row is wrong.
          RunError: If training fails.
        """
        seed = self.rounds.seed
        texts = data.load_data(self.corpus, seed)
        data.say("corpus", texts.describe())
        clients = data.resolve_partition(self.clients, texts.train)
        resolved = privacy_plan.resolve(dataclasses.replace(self, clients=clients))
        data.say("note", settings.without_effect(*resolved.recorded()))
        whole, split = data.split_clients(clients, texts.train, seed)
        data.say("clients", [whole.summary(), split.summary()])
        quantized_rounds.check(resolved)
        secure_rounds.check(resolved)
        plan = None
        if self.privacy.dp != privacy_flags.NONE:
            plan = privacy_plan.plan(resolved, split.train)
            data.say("privacy", plan.lines)
        config = {**flag_groups.record(*resolved.recorded()), **texts.fingerprints()}
        path = place.output_dir(self.place.output_dir, self.corpus.corpus, config)
        # The devices of this machine are known later; other devices would give other sums.
        with run_directory.RunDirectory(path, config, late=["devices"]) as directory:
            if result.told(directory):
                return
            from experiments import federated_training

            if plan is not None:
                rounds = dataclasses.replace(self.rounds, rounds=plan.rounds)
                resolved = dataclasses.replace(resolved, rounds=rounds)
            federated_training.train(resolved, texts, split, directory, config, began, plan)

    def recorded(self) -> tuple[object, ...]:
        """Returns the groups that are part of the configuration: all but where things are."""
        return tuple(
            getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "place"
        )
