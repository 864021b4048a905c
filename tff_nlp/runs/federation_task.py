"""What both halves of a federation build from its plan: the model, the process, its fingerprint."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tff_nlp import errors
from tff_nlp.clients import partition
from tff_nlp.corpora import load
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.privacy import accounting, example_level, names
from tff_nlp.runs import checks, conduct, configs, data, options, privacy_plan, reporter, result
from tff_nlp.runs.configs.federation import OwnTextsConfig
from tff_nlp.runs.configs.task_names import LANGUAGE_MODEL, PAIRS

if TYPE_CHECKING:  # Mistakes are found before TensorFlow is imported.
    from tff_nlp.execution import forms
    from tff_nlp.runs.learner import Learner

# The groups of a run that a plan has.
GROUPS = (
    configs.ModelConfig,
    configs.ClientTrainingConfig,
    configs.FederatedConfig,
    configs.AggregationConfig,
    configs.CompressionConfig,
    configs.RoundsConfig,
    configs.PrivacyConfig,
)
# Algorithms whose rounds need more of a client than its texts and its own state.
_UNFIT = ("fedbuff", "feddf", "fedmd", "dsfl")


@dataclasses.dataclass(frozen=True, eq=False)
class Built:
    """A federation's computation.

    Attributes:
      run: The configuration.
      learner: The model.
      process: The learning process.
      form: A round of it.
      computation: Fingerprint of what a silo computes.
      model: Fingerprints of the vocabulary and of the frozen weights.
    """

    run: configs.FederatedRun
    learner: "Learner"
    process: Any
    form: "forms.RoundForm"
    computation: str
    model: Mapping[str, str]

    @functools.cached_property
    def frozen(self) -> list[Any]:
        """The frozen weights, which a silo brings itself.

        They are tensors, since arrays would be copied in each round. The coordinator does not need
        them.
        """
        import tensorflow as tf

        _, frozen = self.learner.task.initial_weights()
        return [tf.convert_to_tensor(array) for array in frozen]


def groups_of(config: Any) -> list[Any]:
    """Returns the groups of a configuration that a plan has, in the order of `GROUPS`."""
    values = [getattr(config, field.name) for field in dataclasses.fields(config)]
    return [value for value in values if isinstance(value, GROUPS)]


def to_settings(run: configs.FederatedRun) -> dict[str, Any]:
    """Returns the options of a run that its plan has, by name."""
    settings = dict(options.record(*groups_of(run)))
    settings |= {
        "task": run.corpus.task,
        "clients_per_round": run.clients.clients_per_round,
        "sampling": run.clients.sampling,
    }
    folder = pathlib.Path(run.model.encoder)
    if folder.is_dir():
        # Each party has the folder at another place.
        settings["encoder"] = folder.resolve().name
    return settings


def from_settings(
    settings: Mapping[str, Any], silos: int, encoder_folder: str = ""
) -> configs.FederatedRun:
    """Returns the configuration of a plan.

    Args:
      settings: The settings of the plan.
      silos: Number of silos.
      encoder_folder: Folder of the encoder on this machine; empty if the encoder is no folder.

    Raises:
      UserError: If the settings are damaged, or are not possible.
    """
    try:
        values = dict(settings)
        if encoder_folder:
            values["encoder"] = encoder_folder
        groups = [options.restore(group, values) for group in GROUPS]
        return run_of(
            groups,
            str(values["task"]),
            int(values["clients_per_round"]),
            str(values["sampling"]),
            silos,
        )
    except KeyError as error:
        raise errors.UserError(
            f"the plan was made by another version of the software, without `{error.args[0]}`"
        ) from error
    except TypeError as error:
        raise errors.UserError(f"the plan is damaged at `{error}`") from error


def run_of(
    groups: Sequence[Any], task: str, clients_per_round: int, sampling: str, silos: int
) -> configs.FederatedRun:
    """Returns the configuration of a run, and refuses what a federation cannot do.

    Args:
      groups: The configs of `GROUPS`, in their order.
      task: Name of the task.
      clients_per_round: Number of silos in a round.
      sampling: How silos are drawn.
      silos: Number of silos.

    Raises:
      UserError: If an option is refused.
    """
    model, training, federated, aggregation, compression, rounds, privacy = groups
    # A pair has a second text, whose column each party names for itself.
    corpus = configs.CorpusConfig(task=task, second_text_column="second" if task == PAIRS else "")
    run = configs.FederatedRun(
        corpus=corpus,
        clients=configs.ClientsConfig(
            partition="natural", clients_per_round=clients_per_round, sampling=sampling
        ),
        model=model,
        client_training=training,
        federated=federated,
        aggregation=aggregation,
        compression=compression,
        rounds=rounds,
        privacy=privacy,
    )
    _check(run, silos)
    resolved = privacy_plan.resolve(run)
    conduct.check(resolved)
    return resolved


def _check(run: configs.FederatedRun, silos: int) -> None:
    federated, privacy, model = run.federated, run.privacy, run.model
    cohort = run.clients.clients_per_round
    if cohort > silos:
        checks.refuse("clients_per_round", cohort, f"there are only {silos} silos")
    if federated.algorithm in _UNFIT:
        checks.refuse(
            "algorithm",
            federated.algorithm,
            "needs public texts or a simulated clock, which a federation does not have",
        )
    if federated.secure_aggregation in (names.PLAIN, names.CKKS):
        checks.refuse(
            "secure_aggregation",
            federated.secure_aggregation,
            "is only simulated; a federation has `secure_aggregation`=masked",
        )
    if privacy.dp == names.DISTRIBUTED and federated.secure_aggregation != names.MASKED:
        checks.refuse(
            "dp", privacy.dp, "needs `secure_aggregation`=masked, which hides the single updates"
        )
    if model.encoder == "random":
        checks.refuse(
            "encoder",
            "random",
            "learns its vocabulary from texts, and no party has the texts of all silos; give a "
            "folder with a checkpoint, minilm, or a preset",
        )
    if model.lora_client_ranks:
        checks.refuse("lora_client_ranks", model.lora_client_ranks, "is only simulated")
    if privacy.audit_canaries:
        checks.refuse("audit_canaries", privacy.audit_canaries, "canaries are only simulated")
    if run.rounds.checkpoint_every != 1:
        why = "a round must be saved before its weights are sent to anybody"
        checks.refuse("checkpoint_every", run.rounds.checkpoint_every, why)
    if privacy.dp == names.EXAMPLE_LEVEL and privacy.noise_multiplier is None:
        checks.refuse(
            "dp",
            privacy.dp,
            "give `noise_multiplier`: epsilon depends on each silo's number of texts, so each silo "
            "states its own",
        )


def own_texts(config: OwnTextsConfig, task: str, labels: tuple[str, ...]) -> Corpus | None:
    """Returns the texts of one party; None if it has none.

    Args:
      config: Where they are.
      task: Name of the task.
      labels: The labels of the federation.

    Raises:
      UserError: If a file or a row is wrong, or a text has another label.
    """
    if not config.corpus:
        return None
    source = CorpusSource(
        path=config.corpus,
        labelled=task != LANGUAGE_MODEL,
        label_column=config.label_column,
        label_map=config.label_map,
        label_file=config.label_file,
        strip_prefix=config.strip_prefix,
        **data.reading(config),
    )
    loaded = load.load_corpus(source, labels or None)
    reporter.say("corpus", loaded.report.lines())
    return loaded.corpus


def silos_as_clients(silos: Sequence[str]) -> partition.Partition:
    """Returns a partition with one row per silo, for the accounting of silos."""
    count = len(silos)
    return partition.Partition(
        client_ids=tuple(silos),
        offsets=np.arange(count + 1),
        rows=np.arange(count),
        kind="natural",
        parameters={},
        seed=0,
        corpus_fingerprint="",
        corpus_examples=count,
    )


def promise(run: configs.FederatedRun, silos: Sequence[str]) -> privacy_plan.PrivacyPlan | None:
    """Returns the privacy plan of a federation; None without differential privacy.

    For privacy of examples it has only the noise. Each silo states its own epsilon.
    """
    if run.privacy.dp == names.NONE:
        return None
    if run.privacy.dp == names.EXAMPLE_LEVEL:
        # Only the noise is used: the numbers of texts stay with the silos.
        unknown = [example_level.Silo(name, 1, 1.0, 1) for name in silos]
        noise = run.privacy.noise_multiplier or 0.0
        promised = example_level.ExampleGuarantee(tuple(unknown), noise, run.privacy.delta or 1e-5)
        line = "each silo states the epsilon of its own examples"
        return privacy_plan.PrivacyPlan(
            promised, run.rounds.rounds, (line,), (), accounting.ADD_OR_REMOVE
        )
    return privacy_plan.plan(run, silos_as_clients(silos), conduct.check(run))


def build(
    run: configs.FederatedRun,
    labels: Sequence[str],
    silos: Sequence[str],
    cache_dir: pathlib.Path,
    promised: privacy_plan.PrivacyPlan | None,
) -> Built:
    """Builds model and process. Both sides get the same computation from the same plan.

    Args:
      run: The configuration.
      labels: Names of the labels.
      silos: Names of the silos.
      cache_dir: Folder of token caches.
      promised: The privacy plan.

    Raises:
      UserError: If the encoder cannot be loaded, or the algorithm does not fit a federation.
    """
    from tff_nlp import silence_libraries
    from tff_nlp.deployment import computation_fingerprint, pieces
    from tff_nlp.execution import contexts, forms, streaming
    from tff_nlp.runs import learners, processes

    streaming.configure_threads(warn=False)
    silence_libraries.import_keras_nlp()
    # It replaces TFF's own context, which complains when the program ends.
    contexts.install("streaming", ("/CPU:0",))
    pairs = run.corpus.task == PAIRS
    nothing = Corpus(
        "federation", (), np.zeros([0], np.int32), tuple(labels), second_texts=() if pairs else None
    )
    learner = learners.build(
        run.corpus.task,
        nothing,
        run.model,
        cache_dir,
        seed=run.rounds.seed,
        logit_adjustment=run.federated.logit_adjustment,
    )
    process = processes.build_process(run, learner.task, len(silos), promised)
    try:
        form = forms.compile_round(process.next)
    except forms.NoFormError as error:
        raise errors.UserError(
            f"`algorithm`={run.process}: is no single round ({error}), so it cannot be sent"
        ) from error
    frozen = learner.task.initial_weights()[1]
    return Built(
        run=run,
        learner=learner,
        process=process,
        form=form,
        computation=computation_fingerprint.of_form(form),
        model={
            "vocabulary": learner.model.tokenizer.fingerprint,
            "frozen weights": pieces.digest(frozen).hex(),
        },
    )


def versions() -> dict[str, str]:
    """Returns the versions of the software, by package."""
    return {name: version or "" for name, version in result.versions().items()}
