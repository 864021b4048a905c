"""A federation over real connections equals the simulation of train.py, to the bit.

The coordinator runs in the test's thread and the silos in threads of their own, each with its own
folder. `tests/experiments/test_killed_federation.py` has processes.
"""

import json
import pathlib
import threading
import time

import grpc
import numpy as np
import pytest
import safetensors.numpy
import tensorflow_federated as tff

from tests.deployment.conftest import free_port
from tests.models import conftest as tiny
from tff_nlp import errors
from tff_nlp.deployment import certificates
from tff_nlp.execution import streaming
from tff_nlp.program import checkpoints
from tff_nlp.runs import configs, coordinated_run, federated_run, federation_task, silo_run
from tff_nlp.runs.configs import federation

NAMES = ("ash", "birch", "cedar", "date", "elm")
PLANTED = "t h e p a t i e n t"


def write_encoder(folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(tiny.CHECKPOINT_CONFIG))
    (folder / "vocab.txt").write_text("\n".join(tiny.CHECKPOINT_WORDS) + "\n")
    tensors = {n: np.ascontiguousarray(v) for n, v in tiny.checkpoint_tensors().items()}
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    return str(folder)


def write_texts(folder, names=NAMES):
    """Writes the texts of each silo, of all silos, and of the test."""
    rng = np.random.default_rng(1)
    letters = [word for word in tiny.CHECKPOINT_WORDS if len(word) == 1]

    def rows(count):
        for _ in range(count):
            label = rng.integers(2)
            text = " ".join(rng.choice(letters, 6)) + (" y" if label else " x")
            yield f"{text},{'good' if label else 'bad'}"

    texts = {name: [f"{PLANTED},bad", *rows(9)] for name in names}
    for name, own in texts.items():
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *own]))
    whole = [f"{row},{name}" for name in names for row in texts[name]]
    (folder / "all.csv").write_text("\n".join(["text,label,silo", *whole]))
    tested = list(rows(20))
    (folder / "test.csv").write_text("\n".join(["text,label", *tested]))
    (folder / "test_of_all.csv").write_text(
        "\n".join(["text,label,silo", *(f"{row},{names[0]}" for row in tested)])
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with keys, texts and an encoder."""
    folder = tmp_path_factory.mktemp("federation")
    certificates.enrol(folder / "keys", NAMES, ["localhost"])
    write_texts(folder)
    write_encoder(folder / "encoder")
    return folder


def groups(place, **changed):
    """Returns the groups that a federation and a simulation share."""
    found = {
        "model": configs.ModelConfig(encoder=str(place / "encoder"), max_tokens=10),
        "client_training": configs.ClientTrainingConfig(batch_size=4),
        "federated": configs.FederatedConfig(),
        "aggregation": configs.AggregationConfig(),
        "compression": configs.CompressionConfig(),
        "rounds": configs.RoundsConfig(rounds=3, seed=7),
        "privacy": configs.PrivacyConfig(),
    }
    return found | changed


def simulated(place, folder, parts):
    """Trains in a simulation, and returns the last checkpoint's numbers."""
    federated_run.run(
        configs.FederatedRun(
            **parts,
            corpus=configs.CorpusConfig(
                corpus=str(place / "all.csv"),
                test_corpus=str(place / "test_of_all.csv"),
                client_column="silo",
                keep_overlap=True,
            ),
            clients=configs.ClientsConfig(
                partition="natural", clients_per_round=len(NAMES), client_test_fraction=0.0
            ),
            execution=configs.ExecutionConfig(devices="/CPU:0"),
            place=configs.PlaceConfig(
                output_dir=str(folder / "simulation"), cache_dir=str(place / "cache")
            ),
        )
    )
    return numbers(folder / "simulation")


def numbers(folder):
    latest = checkpoints.latest(folder / "checkpoints")
    with np.load(folder / "checkpoints" / f"round_{latest:06d}.npz") as file:
        return latest, {name: file[name].tobytes() for name in file.files if name != "digest"}


@pytest.fixture(autouse=True)
def _streaming():
    """The context of the simulation. It adds updates in the order of the silos' names."""
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        yield


@pytest.fixture(autouse=True)
def _build_once(monkeypatch):
    """Lets all silos of a plan share one computation, which differs from the coordinator's."""
    known, lock, build = {}, threading.Lock(), federation_task.build

    def build_once(run, *others):
        if threading.current_thread() is threading.main_thread():
            return build(run, *others)
        with lock:
            if run not in known:
                known[run] = build(run, *others)
            return known[run]

    monkeypatch.setattr(federation_task, "build", build_once)


class Federation:
    """The runs of a federation in one process."""

    def __init__(self, place, folder, parts, **coordinator):
        self.place, self.folder = place, folder
        self.address = f"localhost:{free_port()}"
        self.errors = []
        self.config = coordinated_run.CoordinatedRun(
            **parts,
            coordinator=federation.CoordinatorConfig(
                identity=str(place / "keys" / "coordinator"),
                listen=self.address,
                status="",
                labels="bad,good",
                **coordinator,
            ),
            test=federation.OwnTextsConfig(corpus=str(place / "test.csv")),
            place=configs.PlaceConfig(
                output_dir=str(folder / "coordinator"), cache_dir=str(place / "cache")
            ),
        )

    def silo(self, name, *, approve=False, corpus=None, **options):
        silo_run.run(
            silo_run.SiloRun(
                federation.SiloConfig(
                    coordinator=self.address,
                    identity=str(self.place / "keys" / "silos" / name),
                    silo_dir=str(self.folder / name),
                    encoder_folder=str(self.place / "encoder"),
                    cache_dir=str(self.place / "cache"),
                    approve=approve,
                    patience_seconds=20.0,
                    **options,
                ),
                federation.OwnTextsConfig(corpus=str(corpus or self.place / f"{name}.csv")),
            )
        )

    def approve(self, name):
        """Approves the plan as soon as the coordinator listens."""
        while True:
            try:
                self.silo(name, approve=True)
                return
            except errors.RunError:
                time.sleep(0.2)

    def _silo(self, name):
        try:
            self.approve(name)
            self.silo(name)
        except Exception as error:
            self.errors.append((name, error))

    def run(self):
        """Runs coordinator and silos to the end."""
        threads = [threading.Thread(target=self._silo, args=(name,), daemon=True) for name in NAMES]
        for thread in threads:
            thread.start()
        coordinated_run.run(self.config)
        for thread in threads:
            thread.join(30)
        assert self.errors == []
        return numbers(self.folder / "coordinator")


CASES = {
    "head": {"model": "head"},
    "fedavg": {},
    "scaffold": {"federated": configs.FederatedConfig(algorithm="scaffold")},
    "masked": {"federated": configs.FederatedConfig(secure_aggregation="masked")},
    "gaussian": {
        "privacy": configs.PrivacyConfig(dp="gaussian", noise_multiplier=1.0, noise_seed=3),
        "model": None,
    },
    "distributed": {
        "privacy": configs.PrivacyConfig(dp="distributed", noise_multiplier=1.0, noise_seed=3),
        "federated": configs.FederatedConfig(secure_aggregation="masked"),
        "model": None,
    },
    "example_level": {
        "privacy": configs.PrivacyConfig(dp="example_level", noise_multiplier=1.0, noise_seed=3),
        "model": None,
    },
    "top_k": {"compression": configs.CompressionConfig(compression="top_k")},
    "median": {"aggregation": configs.AggregationConfig(aggregator="median")},
    "mime_lite": {"federated": configs.FederatedConfig(algorithm="mime_lite")},
    "ditto": {"federated": configs.FederatedConfig(algorithm="ditto")},
    "lora": {"model": "lora"},
}
FAST = ("head",)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "case",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_a_federation_has_the_bits_of_the_simulation(place, tmp_path, capsys, monkeypatch, case):
    changed = dict(CASES[case])
    options = {"encoder": str(place / "encoder"), "max_tokens": 10}
    if changed.get("model", "") is None:
        changed["model"] = configs.ModelConfig(**options, dropout=0.0, encoder_dropout=0.0)
    elif changed.get("model") == "head":
        changed["model"] = configs.ModelConfig(**options, trainable="head")
    elif changed.get("model") == "lora":
        changed["model"] = configs.ModelConfig(**options, adapter="lora")
    parts = groups(place, **changed)
    federated = Federation(place, tmp_path, parts)
    received = keep_messages(monkeypatch)
    assert federated.run() == simulated(place, tmp_path, parts)
    assert sum(map(len, received)) > 1000
    assert not [message for message in received if PLANTED.encode() in message]
    check_files(tmp_path)
    capsys.readouterr()
    coordinated_run.run(federated.config)
    assert "nothing to do" in capsys.readouterr().out


def keep_messages(monkeypatch):
    """Returns the list that gets each message of a silo, as it is before encryption."""
    received, handler = [], grpc.method_handlers_generic_handler

    def recording(name, methods):
        def kept(method):
            def read(message):
                received.append(message)
                return method.request_deserializer(message)

            return method._replace(request_deserializer=read)

        return handler(name, {key: kept(method) for key, method in methods.items()})

    monkeypatch.setattr(grpc, "method_handlers_generic_handler", recording)
    return received


def check_files(folder):
    """No text of a silo is with the coordinator, and what was sent is as large as the plan says."""
    agreed = json.loads((folder / "coordinator" / "plan.json").read_text())
    for file in (folder / "coordinator").rglob("*"):
        if file.is_file():
            assert PLANTED.encode() not in file.read_bytes(), file
    for name in NAMES:
        lines = (folder / name / "sent.jsonl").read_text().splitlines()
        sent = [entry for entry in map(json.loads, lines) if "bytes" in entry]
        assert [entry["round"] for entry in sent] == [1, 2, 3]
        for entry in sent:
            # The protocol's envelope has less than 200 bytes.
            extra = entry["bytes"] - agreed["sent"]["up"] - agreed["sent"]["masked"]
            assert 0 <= extra < 200
    result = json.loads((folder / "coordinator" / "result.json").read_text())
    assert 0 <= result["test"]["accuracy"] <= 1
    assert (folder / "coordinator" / "model" / "saved_model.pb").is_file()


@pytest.fixture(scope="module")
def approved(place, tmp_path_factory):
    """A coordinator that waits, and a silo that has approved its plan."""
    folder = tmp_path_factory.mktemp("approved")
    federated = Federation(place, folder, groups(place))
    thread = threading.Thread(target=lambda: coordinated_run.run(federated.config), daemon=True)
    thread.start()
    federated.approve("ash")
    return federated


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpus": "absent.csv"}, r"^corpus=absent.csv"),
        ({"corpus": "EMPTY"}, "no rows|has no|empty"),
        ({"corpus": "OTHER_LABEL"}, "strange"),
        ({"policy": "absent.json"}, "^policy=absent.json: cannot be read"),
        ({"silo_dir": "fresh"}, "no plan is approved yet"),
        ({"identity": "absent"}, "^identity=absent: ca.pem is missing"),
    ],
)
def test_mistakes_of_a_silo(approved, tmp_path, options, message):
    folder = {"fresh": tmp_path / "fresh"}.get(options.get("silo_dir"), approved.folder / "ash")
    corpus = approved.place / "ash.csv"
    if "corpus" in options:
        corpus = pathlib.Path(options["corpus"])
        if options["corpus"] == "EMPTY":
            corpus = tmp_path / "empty.csv"
            corpus.write_text("text,label\n")
        elif options["corpus"] == "OTHER_LABEL":
            corpus = tmp_path / "other.csv"
            corpus.write_text("text,label\na b,bad\nc d,strange\n")
    with pytest.raises(errors.UserError, match=message):
        silo_run.run(
            silo_run.SiloRun(
                federation.SiloConfig(
                    coordinator=approved.address,
                    identity=options.get(
                        "identity", str(approved.place / "keys" / "silos" / "ash")
                    ),
                    silo_dir=str(folder),
                    encoder_folder=str(approved.place / "encoder"),
                    cache_dir=str(approved.place / "cache"),
                    policy=options.get("policy", ""),
                ),
                federation.OwnTextsConfig(corpus=str(corpus)),
            )
        )
    assert not (approved.folder / "ash" / "sent.jsonl").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"federated": configs.FederatedConfig(algorithm="fedbuff")}, "algorithm=fedbuff"),
        (
            {"federated": configs.FederatedConfig(secure_aggregation="plain")},
            "secure_aggregation=plain: is only simulated",
        ),
        ({"model": configs.ModelConfig(encoder="random")}, "encoder=random: learns its vocabulary"),
        (
            {"rounds": configs.RoundsConfig(checkpoint_every=2)},
            "checkpoint_every=2: a round must be saved",
        ),
        (
            {"privacy": configs.PrivacyConfig(dp="example_level", target_epsilon=3.0)},
            "give noise_multiplier",
        ),
        ({"rounds": configs.RoundsConfig(client_eval_examples=3)}, "sees no examples of silos"),
    ],
)
def test_what_a_federation_cannot_do_is_refused(place, tmp_path, changed, message):
    federated = Federation(place, tmp_path, groups(place, **changed))
    with pytest.raises(errors.UserError, match=message):
        coordinated_run.run(federated.config)
    assert not (tmp_path / "coordinator").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "good"}, "labels=good: give two names"),
        ({"labels": "good,good"}, "a name occurs twice"),
        ({"clients_per_round": 9}, "there are only 5 silos"),
    ],
)
def test_mistakes_of_a_coordinator(place, tmp_path, options, message):
    federated = Federation(place, tmp_path, groups(place))
    values = {
        "identity": str(place / "keys" / "coordinator"),
        "listen": federated.address,
        "labels": "bad,good",
        **options,
    }
    config = coordinated_run.CoordinatedRun(
        **groups(place),
        coordinator=federation.CoordinatorConfig(**values),
        place=configs.PlaceConfig(output_dir=str(tmp_path / "new")),
    )
    with pytest.raises(errors.UserError, match=message):
        coordinated_run.run(config)
    assert not (tmp_path / "new").exists()
