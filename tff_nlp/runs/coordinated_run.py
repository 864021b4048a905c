"""The coordinator of a federation over machines, from its config to the trained model."""

import contextlib
import dataclasses
import pathlib
import time
from typing import TYPE_CHECKING, Any

from tff_nlp import durable_files, errors
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.deployment import certificates, plan
from tff_nlp.privacy import names
from tff_nlp.program import configuration, run_directory
from tff_nlp.runs import (
    conduct,
    configs,
    federation_task,
    options,
    privacy_plan,
    reporter,
    result,
    run_paths,
    user_folders,
)
from tff_nlp.runs.configs.federation import CoordinatorConfig, OwnTextsConfig
from tff_nlp.runs.configs.task import TaskConfig

if TYPE_CHECKING:
    from tff_nlp.program import training

PLAN = "plan.json"
# How long the coordinator waits for silos to hear that the federation is finished.
_FAREWELL_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class CoordinatedRun:
    """All parts of a coordinator. Each field is a group of flags of its script."""

    coordinator: CoordinatorConfig
    learned: TaskConfig = TaskConfig()
    test: OwnTextsConfig = OwnTextsConfig()
    model: configs.ModelConfig = configs.ModelConfig()
    client_training: configs.ClientTrainingConfig = configs.ClientTrainingConfig()
    federated: configs.FederatedConfig = configs.FederatedConfig()
    aggregation: configs.AggregationConfig = configs.AggregationConfig()
    compression: configs.CompressionConfig = configs.CompressionConfig()
    rounds: configs.RoundsConfig = configs.RoundsConfig()
    privacy: configs.PrivacyConfig = configs.PrivacyConfig()
    place: configs.PlaceConfig = configs.PlaceConfig()


def run(config: CoordinatedRun) -> None:
    """Coordinates a federation, or goes on with one that was stopped.

    Args:
      config: The configuration.

    Raises:
      UserError: If an option, a file or a key is wrong.
      RunError: If training fails.
    """
    if not config.place.output_dir:
        raise errors.UserError("`output_dir`: is needed: the folder of the federation")
    run_paths.check(config.place)
    credentials = certificates.load(pathlib.Path(config.coordinator.identity))
    if credentials.name != certificates.COORDINATOR:
        raise errors.UserError(
            f"{errors.setting('identity', config.coordinator.identity)}: these are the keys of "
            f"{errors.verbatim(credentials.name)}, not of the coordinator"
        )
    silos = credentials.members.names
    reporter.say("silos", [f"{len(silos)}: {', '.join(silos)}"])
    federated = _federated(config, len(silos))
    labels = config.coordinator.label_names(config.learned.task)
    test = federation_task.own_texts(config.test, config.learned.task, labels)
    promised = federation_task.promise(federated, silos)
    if promised is not None:
        reporter.say("privacy", promised.lines)
    recorded = _recorded(config, federated, credentials, test)
    path = pathlib.Path(config.place.output_dir)
    with run_directory.RunDirectory(path, recorded, _rules()) as directory:
        if result.print_status(directory):
            return
        reporter.say("loading", ["TensorFlow and TensorFlow Federated"])
        cache = user_folders.cache_dir(config.place.cache_dir)
        built = federation_task.build(federated, labels, silos, cache, promised)
        reporter.say("model", [built.learner.describe()])
        _coordinate(config, credentials, labels, built, promised, directory, test, recorded)


def _federated(config: CoordinatedRun, silos: int) -> configs.FederatedRun:
    default = configs.RoundsConfig().client_eval_examples
    if config.rounds.client_eval_examples != default:
        raise errors.UserError(
            f"`client_eval_examples`={config.rounds.client_eval_examples}: the coordinator sees no "
            "examples of silos"
        )
    cohort = config.coordinator.clients_per_round or silos
    return federation_task.run_of(
        federation_task.groups_of(config), config.learned.task, cohort, "auto", silos
    )


def _recorded(
    config: CoordinatedRun,
    federated: configs.FederatedRun,
    credentials: certificates.Credentials,
    test: Corpus | None,
) -> dict[str, Any]:
    recorded = {
        **options.record(config.test),
        **federation_task.to_settings(federated),
        "labels": config.coordinator.labels,
        "silos": list(credentials.members.names),
        "max_failed_clients": config.coordinator.max_failed_clients,
    }
    if test is not None:
        recorded["corpus (fingerprint)"] = test.fingerprint
    return recorded


def _rules() -> configuration.Rules:
    """Returns what may change when a federation goes on: where its test texts are."""
    described = options.record(OwnTextsConfig())
    return configuration.Rules(late=[], described=described, growing={})


def _coordinate(
    config: CoordinatedRun,
    credentials: certificates.Credentials,
    labels: tuple[str, ...],
    built: federation_task.Built,
    promised: privacy_plan.PrivacyPlan | None,
    directory: run_directory.RunDirectory,
    test: Corpus | None,
    recorded: dict[str, Any],
) -> None:
    import tensorflow_federated as tff

    from tff_nlp.deployment import (
        attendance,
        participation,
        service,
        silo_context,
        status_page,
        wire_form,
    )
    from tff_nlp.program import checkpoints

    began = time.monotonic()
    federated, silos = built.run, credentials.members.names
    masking = None
    if federated.federated.secure_aggregation == names.MASKED:
        masking = silo_context.Masking(
            credentials,
            federated.federated.secure_aggregation_threshold,
            conduct.demanded(federated),
        )
    sizes = wire_form.sizes(built.form, federated.clients.clients_per_round)
    agreed = plan.Plan(
        settings=federation_task.to_settings(federated),
        labels=labels,
        silos=silos,
        computation=built.computation,
        model=built.model,
        sent=dataclasses.asdict(sizes),
        threshold=0 if masking is None else masking.least(federated.clients.clients_per_round),
        versions=federation_task.versions(),
    )
    text = agreed.encode()
    reporter.say("plan", [agreed.describe_sizes(), f"SHA-256 {agreed.digest.hex()}"])
    present = attendance.Attendance(silos, _say)
    connections = service.Service(text, present, _say)
    # A port that is taken is found before anything is written.
    if config.coordinator.status:
        service.check_port(config.coordinator.status, "status")
    server = service.start(connections, credentials, config.coordinator.listen)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: server.stop(1.0).wait())
        stack.callback(present.close)
        directory.begin()
        durable_files.replace_text(directory.path / PLAN, text, private=False)
        done = checkpoints.latest(directory.checkpoints) or 0
        record = participation.Participation(directory.path / participation.NAME, done)
        context = silo_context.SiloContext(
            connections,
            record,
            _say,
            silo_context.Patience(config.coordinator.round_seconds),
            masking=masking,
            max_failed_clients=config.coordinator.max_failed_clients,
        )
        stack.enter_context(tff.framework.get_context_stack().install(context))
        reporter.say("listening", [f"{config.coordinator.listen}, for silos of {PLAN}"])
        if config.coordinator.status:
            page = status_page.of_coordinator(agreed, context, directory.path)
            stack.enter_context(status_page.served(config.coordinator.status, page))
        program = _program(built, promised, silos, directory, test)
        trained = program.run(directory)
        _save(config, built, directory, trained, test, recorded, agreed, context, began)
        _say_farewell(connections)


def _program(
    built: federation_task.Built,
    promised: privacy_plan.PrivacyPlan | None,
    silos: tuple[str, ...],
    directory: run_directory.RunDirectory,
    test: Corpus | None,
) -> "training.TrainingProgram":
    from tff_nlp.deployment import silo_context
    from tff_nlp.learning import composition
    from tff_nlp.program import secret_file, training
    from tff_nlp.runs import federated_training
    from tff_nlp.runs.drawing import Drawing

    run, learner = built.run, built.learner
    secret = federated_training.noise_secret(run, directory)
    if secret is not None:
        secret_file.keep(directory.path, secret)
    drawing = Drawing(conduct.of_process(run), conduct.of_rounds(run), run.rounds.seed, secret)
    # A silo that protects its examples states its own epsilon.
    of_silos = promised is not None and run.privacy.dp != names.EXAMPLE_LEVEL
    return training.TrainingProgram(
        process=_Stateless(built.process),
        initial_state=lambda: composition.initial_state(built.process, learner.task),
        cohort=drawing.cohorts(len(silos), run.clients.clients_per_round),
        client=lambda client, number: silo_context.RemoteClient(silos[client], number),
        score=learner.task.score_set,
        evaluation_sets=[] if test is None else [learner.evaluation_set("test", test)],
        train_means=("loss", *learner.task.metrics),
        headline=f"test_{learner.task.report.headline}",
        rounds=run.rounds.rounds if promised is None else promised.rounds,
        eval_every=run.rounds.eval_every,
        checkpoint_every=1,
        guarantee=promised.guarantee if promised is not None and of_silos else None,
        noise_secret=secret,
        client_id=lambda client: silos[client],
        drawn=drawing.rounds,
    )


class _Stateless:
    """A process whose clients keep their states themselves."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def __getattr__(self, name: str) -> Any:
        if name == "client_specs":
            raise AttributeError(name)
        return getattr(self._process, name)


def _save(
    config: CoordinatedRun,
    built: federation_task.Built,
    directory: run_directory.RunDirectory,
    trained: "training.Outcome",
    test: Corpus | None,
    recorded: dict[str, Any],
    agreed: plan.Plan,
    context: Any,
    began: float,
) -> None:
    """Writes the model and result.json, which is written last."""
    from tff_nlp.program import pictures

    learner = built.learner
    weights = built.process.get_model_weights(trained.state)
    reporter.say("saving", ["the model"])
    if test is not None:
        pictures.draw_curves(
            trained.rows,
            directory.path / run_directory.CURVES,
            learner.task.report.panels,
            title=f"federation, tested on {test.name}",
            baseline=trained.scores["test"].baseline,
        )
    fingerprint = learner.export(
        weights, directory.path / run_directory.MODEL, strip_prefix=config.test.strip_prefix
    )
    traffic = {name: dataclasses.asdict(context.service.traffic.of(name)) for name in agreed.silos}
    values: dict[str, Any] = {
        "task": learner.task.name,
        "rounds": len(trained.rows),
        "silos": {name: {"last_round": context.record.last(name)} for name in agreed.silos},
        "bytes_of_silos": traffic,
        "bytes_per_client": dict(agreed.sent),
        "seconds": {"this_program": round(time.monotonic() - began, 3)},
        "fingerprints": {
            "model": fingerprint,
            "plan": agreed.digest.hex(),
            "computation": agreed.computation,
        },
        "versions": federation_task.versions(),
        "config": recorded,
    }
    lines = []
    if test is not None:
        values["test"] = learner.describe_scores(trained.scores["test"])
        lines.append(f"test      {trained.scores['test'].line()}")
    if trained.privacy is not None:
        values["privacy"] = result.privacy(trained.privacy)
        lines.append(f"privacy   {values['privacy']['line']}")
    lines.append(f"rounds    {len(trained.rows)} with {len(agreed.silos)} silos")
    values["summary"] = lines
    directory.save_result(values)
    reporter.show(lines)
    reporter.say("saved", [f"{errors.verbatim(directory.path)}: result.json, model/"])


def _say_farewell(connections: Any) -> None:
    """Tells silos that the federation is finished, and gives them time to hear it."""
    from tff_nlp.deployment import federation_pb2 as pb

    connections.finished = True
    present = connections.attendance.present()
    connections.attendance.send(present, lambda _: pb.Task(kind=pb.Task.FINISHED))
    ends = time.monotonic() + _FAREWELL_SECONDS
    while connections.attendance.present() and time.monotonic() < ends:
        time.sleep(0.1)


def _say(subject: str, line: str) -> None:
    reporter.say(subject, [line])
