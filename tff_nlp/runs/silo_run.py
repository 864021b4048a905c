"""A silo of a federation over machines: it approves a plan, and takes part with its own texts."""

import contextlib
import dataclasses
import pathlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tff_nlp import durable_files, errors
from tff_nlp.clients import partition
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.deployment import certificates, plan, policy, sent_log
from tff_nlp.privacy import accounting, example_level, names
from tff_nlp.privacy.noise_secret import NoiseSecret
from tff_nlp.runs import (
    conduct,
    configs,
    federation_task,
    privacy_plan,
    reporter,
    user_folders,
)
from tff_nlp.runs.configs.federation import OwnTextsConfig, SiloConfig

if TYPE_CHECKING:
    from tff_nlp.deployment import silo_work

APPROVED = "approved.json"
_STATES = "states"


@dataclasses.dataclass(frozen=True)
class SiloRun:
    """All parts of a silo. Each field is a group of flags of its script."""

    silo: SiloConfig
    texts: OwnTextsConfig = OwnTextsConfig()


def run(config: SiloRun) -> None:
    """Approves the coordinator's plan, or takes part in the federation.

    Args:
      config: The configuration.

    Raises:
      UserError: If an option, a file, a key, a row or the plan is refused.
      RunError: If the coordinator stays away.
    """
    silo = config.silo
    user_folders.check_writable("silo_dir", pathlib.Path(silo.silo_dir))
    credentials = certificates.load(pathlib.Path(silo.identity))
    if credentials.name == certificates.COORDINATOR:
        raise errors.UserError(
            f"{errors.setting('identity', silo.identity)}: these are the keys of the coordinator"
        )
    limits = policy.load(silo.policy)
    from tff_nlp.deployment import connection

    link = connection.Connection(silo.coordinator, credentials)
    with contextlib.closing(link):
        if silo.approve:
            _approve(config, credentials, limits, link)
        else:
            _take_part(config, credentials, limits, link)


def _approve(
    config: SiloRun,
    credentials: certificates.Credentials,
    limits: policy.Policy,
    link: Any,
) -> None:
    """Shows the plan, and approves it if policy and computation permit."""
    proposed = plan.decode(link.describe())
    _check_plan(proposed, credentials, limits)
    federated = _federated(config, proposed)
    _show(proposed, federated)
    texts = _texts(config, proposed)
    reporter.say("loading", ["TensorFlow and TensorFlow Federated, to build the computation"])
    built = _build(config, proposed, federated)
    _show_epsilon(built.run, credentials.name, texts)
    folder = pathlib.Path(config.silo.silo_dir)
    with durable_files.writing(folder):
        folder.mkdir(durable_files.PRIVATE_FOLDER, parents=True, exist_ok=True)
    durable_files.replace_text(folder / APPROVED, proposed.encode())
    reporter.say(
        "approved",
        [
            f"SHA-256 {proposed.digest.hex()} in {errors.verbatim(folder / APPROVED)}",
            "the same command without `approve` takes part",
        ],
    )


def _take_part(
    config: SiloRun,
    credentials: certificates.Credentials,
    limits: policy.Policy,
    link: Any,
) -> None:
    folder = pathlib.Path(config.silo.silo_dir)
    approved = _approved(folder)
    _check_plan(approved, credentials, limits)
    federated = _federated(config, approved)
    texts = _texts(config, approved)
    reporter.say("corpus", [f"{len(texts):,} texts, which stay here"])
    log = sent_log.SentLog(folder / sent_log.NAME)
    reporter.say("loading", ["TensorFlow and TensorFlow Federated"])
    built = _build(config, approved, federated)
    computation = _computation(built, approved, credentials.name, texts, folder)
    from tff_nlp.deployment import silo_rounds, status_page

    silo = silo_rounds.Silo(link, credentials, approved, limits, computation, log, _say)
    _check_current(link, approved)
    with contextlib.ExitStack() as stack:
        if config.silo.status:
            page = status_page.of_silo(approved, credentials.name, silo)
            stack.enter_context(status_page.served(config.silo.status, page))
        silo.take_part(config.silo.patience_seconds)
    _show_epsilon(built.run, credentials.name, texts, rounds=silo.last_round, log=log)
    reporter.say("finished", [f"{silo.rounds} updates sent; {errors.verbatim(folder)}/sent.jsonl"])


def _check_plan(
    proposed: plan.Plan, credentials: certificates.Credentials, limits: policy.Policy
) -> None:
    if proposed.silos != credentials.members.names:
        raise errors.UserError(
            f"`identity`: {certificates.MEMBERS} has the silos "
            f"{', '.join(credentials.members.names)}, and the plan has {', '.join(proposed.silos)}"
        )
    limits.check(proposed)


def _check_current(link: Any, approved: plan.Plan) -> None:
    """Refuses if the coordinator has another plan now. A coordinator that is away may come later.

    Raises:
      UserError: If the plans differ.
    """
    from tff_nlp.deployment import connection

    try:
        current = plan.decode(link.describe())
    except connection.AwayError:
        return
    if current.digest != approved.digest:
        changes = "; ".join(approved.differences(current)[:5])
        raise errors.UserError(
            f"`coordinator`: has another plan than the approved one: {changes}. Look at it with "
            "`approve`"
        )


def _approved(folder: pathlib.Path) -> plan.Plan:
    path = folder / APPROVED
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise errors.UserError(
            f"{errors.setting('silo_dir', folder)}: no plan is approved yet; run the same command "
            "with `approve` first"
        ) from error
    return plan.decode(text)


def _federated(config: SiloRun, agreed: plan.Plan) -> configs.FederatedRun:
    return federation_task.from_settings(
        agreed.settings, len(agreed.silos), config.silo.encoder_folder
    )


def _texts(config: SiloRun, agreed: plan.Plan) -> Corpus:
    if not config.texts.corpus:
        raise errors.UserError("`corpus`: is needed: the texts of this silo")
    texts = federation_task.own_texts(config.texts, str(agreed.settings["task"]), agreed.labels)
    if texts is None or not len(texts):
        raise errors.UserError(f"{errors.setting('corpus', config.texts.corpus)}: has no texts")
    return texts


def _build(
    config: SiloRun, agreed: plan.Plan, federated: configs.FederatedRun
) -> federation_task.Built:
    """Builds the computation of a plan, and compares it with the plan.

    Raises:
      UserError: If the coordinator computes something else.
    """
    built = federation_task.build(
        federated,
        agreed.labels,
        agreed.silos,
        user_folders.cache_dir(config.silo.cache_dir),
        federation_task.promise(federated, agreed.silos),
    )
    for name, here in built.model.items():
        if agreed.model.get(name) != here:
            raise errors.UserError(
                f"`coordinator`: its {name} are others than those of `encoder`="
                f"{errors.verbatim(federated.model.encoder)} here"
            )
    if built.computation != agreed.computation:
        mine = federation_task.versions()
        others = [
            f"{name} {agreed.versions.get(name)} there and {version} here"
            for name, version in mine.items()
            if agreed.versions.get(name) != version
        ]
        why = f" ({'; '.join(others)})" if others else ""
        raise errors.UserError(
            "`coordinator`: the plan's settings give another computation here than there"
            f"{why}: {built.computation[:16]}… and {errors.verbatim(agreed.computation[:16])}…"
        )
    return built


def _show(proposed: plan.Plan, federated: configs.FederatedRun) -> None:
    """Prints what a silo that takes part would do and send."""
    asked = proposed.settings
    secure = asked["secure_aggregation"]
    trains = asked["trainable"] if asked["adapter"] == "none" else f"adapter {asked['adapter']}"
    steps = asked["local_steps"]
    work = f"{steps} batches" if steps is not None else f"{asked['client_epochs']} passes"
    lines = [
        f"{asked['task']} with {errors.verbatim(asked['encoder'])}, {trains}; labels "
        f"{errors.verbatim(', '.join(proposed.labels)) or 'none'}",
        f"{asked['algorithm']}: {proposed.rounds} rounds of {work}; "
        f"{asked['clients_per_round']} of {len(proposed.silos)} silos in a round",
        proposed.describe_sizes(),
    ]
    if secure == names.MASKED:
        lines.append(
            f"the coordinator sees sums of at least {proposed.threshold} silos, no single update"
        )
    else:
        lines.append("the coordinator sees each silo's update in the clear")
    lines.append(_privacy_line(federated))
    reporter.say("plan", lines)


def _privacy_line(federated: configs.FederatedRun) -> str:
    dp = federated.privacy.dp
    if dp == names.NONE:
        return "no differential privacy: the trained model may reveal texts"
    norm = f"clipping norm {federated.privacy.clipping_norm:g}"
    who = {
        names.EXAMPLE_LEVEL: "this silo adds the noise, for each of its texts",
        names.DISTRIBUTED: "the silos add the noise together, for a silo as a whole",
    }.get(dp, "the coordinator adds the noise, for a silo as a whole, and is trusted to do so")
    return f"differential privacy {dp}, {norm}: {who}"


def _show_epsilon(
    federated: configs.FederatedRun,
    name: str,
    texts: Corpus,
    rounds: int | None = None,
    log: sent_log.SentLog | None = None,
) -> None:
    """Prints the epsilon of the silo's examples, if it adds noise for them."""
    if federated.privacy.dp != names.EXAMPLE_LEVEL:
        return
    size, flags = len(texts), federated.privacy
    delta = accounting.default_delta(size) if flags.delta is None else flags.delta
    own = privacy_plan.silo(federated, name, size)
    promised = example_level.ExampleGuarantee(
        (own,), flags.noise_multiplier or 0.0, delta, flags.accountant
    )
    count = federated.rounds.rounds
    if log is not None:
        sent = {entry["round"] for entry in log.entries if "weights" in entry}
        count = len(sent)
    if not count:
        return
    epsilon = promised.largest_epsilon({name: count})
    repeatable = flags.noise_seed is not None
    claim = "no guarantee: `noise_seed` makes the noise repeatable; " if repeatable else ""
    when = "would be" if log is None else "is"
    reporter.say(
        "privacy",
        [
            f"{claim}epsilon {when} {epsilon:.4g} at delta {delta:.3g} for one of {size:,} texts "
            f"after {count} rounds"
        ],
    )


def _computation(
    built: federation_task.Built,
    agreed: plan.Plan,
    name: str,
    texts: Corpus,
    folder: pathlib.Path,
) -> "silo_work.Computation":
    from tff_nlp.clients import client_data
    from tff_nlp.deployment import silo_work
    from tff_nlp.learning import client_input
    from tff_nlp.program import client_states
    from tff_nlp.runs.drawing import Drawing

    run, learner = built.run, built.learner
    rounds = conduct.of_rounds(run)
    population = client_data.TokenClientData(
        learner.tokens(texts),
        learner.targets(texts),
        _as_client(name, texts),
        pad_id=learner.model.tokenizer.pad_id,
        batch_size=run.client_training.batch_size,
        epochs=run.federated.client_epochs,
        local_steps=run.federated.local_steps,
        poisson=rounds.poisson_batches,
    )
    secret = _secret(run, folder)
    drawing = Drawing(conduct.of_process(run), rounds, run.rounds.seed, secret)
    position = agreed.silos.index(name)
    specs = getattr(built.process, "client_specs", ())

    def brought(number: int, own: Sequence[np.ndarray] | None) -> Any:
        batches = population.round_dataset(name, drawing.order(number))
        state = None
        if specs:
            state = specs if own is None else tuple(own)
        return client_input.with_values(
            batches, state=state, noise_key=drawing.key(position, number)
        )

    states = client_states.ClientStates(folder / _STATES, agreed.digest.hex()) if specs else None
    return silo_work.Computation(built.form, brought, built.frozen, name, states, specs)


def _as_client(name: str, texts: Corpus) -> partition.Partition:
    """Returns a partition with all texts at one client, the silo."""
    return partition.Partition(
        client_ids=(name,),
        offsets=np.array([0, len(texts)]),
        rows=np.arange(len(texts)),
        kind="natural",
        parameters={},
        seed=0,
        corpus_fingerprint=texts.fingerprint,
        corpus_examples=len(texts),
    )


def _secret(run: configs.FederatedRun, folder: pathlib.Path) -> NoiseSecret | None:
    """Returns the silo's own secret of noise; None if the silo adds none."""
    from tff_nlp.program import secret_file

    if run.privacy.dp not in (names.EXAMPLE_LEVEL, names.DISTRIBUTED):
        return None
    if run.privacy.noise_seed is not None:
        return NoiseSecret.from_seed(run.privacy.noise_seed)
    found = secret_file.read(folder) or NoiseSecret.fresh()
    secret_file.keep(folder, found)
    return found


_printing = threading.Lock()


def _say(subject: str, line: str) -> None:
    with _printing:
        reporter.say(subject, [line])
