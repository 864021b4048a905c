"""Flags: one field is one flag, every one is checked, has an effect, and is saved with the run."""

import ast
import dataclasses
import json
import math
import pathlib

import pytest
from absl import flags

from experiments import epsilon, plan_budget, predict, train, train_centralized
from experiments.flags import groups
from tff_nlp.clients import partitions
from tff_nlp.errors import UserError
from tff_nlp.execution import contexts
from tff_nlp.learning import client_work, optimizers
from tff_nlp.models import classifier, encoders
from tff_nlp.runs import configs, options
from tff_nlp.runs.configs import execution, unused

RUNS = pathlib.Path(configs.__file__).parents[1]
SCRIPTS = {
    script.__name__.rpartition(".")[2]: script
    for script in (train, train_centralized, predict, epsilon, plan_budget)
}


def parsed(group, *arguments):
    values = flags.FlagValues()
    groups.define(group, values)
    values(["program", *arguments])
    return groups.parse(group, values)


@dataclasses.dataclass(frozen=True)
class Group:
    """One field of each kind."""

    name: str = options.option("a", "A name.")
    kind: str = options.option("x", "A choice.", ("x", "y"))
    count: int = options.option(3, "A number.")
    limit: int | None = options.option(None, "A number or none.")
    rate: float = options.option(0.5, "A number.")
    norm: float | None = options.option(None, "A number or none.")
    on: bool = options.option(True, "A switch.")


def test_defaults_and_values():
    assert parsed(Group) == Group()
    given = parsed(
        Group, "--name=b", "--kind=y", "--count=4", "--limit=5", "--rate=1e-3", "--norm=2", "--noon"
    )
    assert given == Group("b", "y", 4, 5, 1e-3, 2.0, False)
    assert options.record(given)["norm"] == 2.0
    assert list(options.record(given)) == [f.name for f in dataclasses.fields(Group)]


@pytest.mark.parametrize("argument", ["--kind=z", "--count=1.5", "--rate=fast", "--on=perhaps"])
def test_wrong_values_are_refused(argument):
    with pytest.raises(flags.Error, match=argument.partition("=")[0].lstrip("-")):
        parsed(Group, argument)


def test_names_that_are_stated_twice_agree():
    def choices(group, name):
        return group.__dataclass_fields__[name].metadata["choices"]

    assert execution.CONTEXTS == contexts.CONTEXTS
    assert choices(configs.ModelConfig, "compute_dtype") == tuple(encoders.COMPUTE_DTYPES)
    assert choices(configs.FederatedConfig, "weighting") == ("auto", *client_work.WEIGHTINGS)
    assert choices(configs.FederatedConfig, "server_optimizer") == optimizers.SERVER_OPTIMIZERS
    assert choices(configs.ClientTrainingConfig, "client_optimizer") == (
        "auto",
        *optimizers.CLIENT_OPTIMIZERS,
    )
    assert choices(configs.ModelConfig, "pooling") == classifier.POOLINGS
    assert choices(configs.ClientsConfig, "partition") == ("auto", *partitions.KINDS)
    for name in classifier.TRAINABLE:
        kind = "lora" if name == "adapter" else "none"
        configs.ModelConfig(trainable=name.replace("K", "1"), adapter=kind)
    for choice, _ in unused._MEANT_FOR.values():
        assert choice in {f.name for g in train.GROUPS for f in dataclasses.fields(g)}


def attributes_read():
    """Returns every attribute name that the runs read, outside of the configs' own checks."""
    names = set()
    for path in RUNS.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and function.name != "__post_init__":
                names |= {n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute)}
    return names


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_flag_is_read_somewhere(name):
    fields = {field.name for group in SCRIPTS[name].GROUPS for field in dataclasses.fields(group)}
    assert fields - attributes_read() == set()


def test_every_flag_reaches_the_configuration(finished, finished_centrally):
    for run, script in ((finished, train), (finished_centrally, train_centralized)):
        config = json.loads((run.folder / "config.json").read_text())
        fields = {f.name for group in script.GROUPS for f in dataclasses.fields(group)}
        unrecorded = (configs.PlaceConfig, configs.TrackingConfig)
        places = {f.name for group in unrecorded for f in dataclasses.fields(group)}
        assert fields - set(config) == places
        assert set(config) - fields == {"corpus (fingerprint)", "test_corpus (fingerprint)"}


def test_groups_are_those_of_the_run():
    hints = [field.type for field in dataclasses.fields(configs.FederatedRun)]
    assert hints == list(train.GROUPS)


@pytest.mark.parametrize(
    ("group", "changes", "message"),
    [
        ("CorpusConfig", {"test_fraction": 0.0}, "test_fraction=0.0: must be between 0 and 1"),
        ("CorpusConfig", {"test_fraction": math.nan}, "test_fraction=nan"),
        ("CorpusConfig", {"max_train_examples": 0}, "max_train_examples=0: must be 1 or more"),
        ("ClientsConfig", {"num_clients": 0}, "num_clients=0: must be 1 or more"),
        ("ClientsConfig", {"clients_per_round": 0}, "clients_per_round=0"),
        ("ClientsConfig", {"dirichlet_alpha": 0.0}, "dirichlet_alpha=0.0: must be above 0"),
        ("ClientsConfig", {"dirichlet_alpha": -1.0}, "dirichlet_alpha=-1.0: must be above 0"),
        ("ClientsConfig", {"dirichlet_alpha": math.inf}, "dirichlet_alpha=inf"),
        ("ClientsConfig", {"shards_per_client": 0}, "shards_per_client=0"),
        ("ClientsConfig", {"min_examples_per_client": 0}, "min_examples_per_client=0"),
        ("ClientsConfig", {"held_out_fraction": 1.0}, "held_out_fraction=1.0"),
        ("ClientsConfig", {"client_test_fraction": -0.1}, "client_test_fraction=-0.1"),
        ("ModelConfig", {"max_tokens": 2}, "max_tokens=2: must be from 3"),
        ("ModelConfig", {"max_tokens": 100_000}, "max_tokens=100000"),
        ("ModelConfig", {"dropout": 1.0}, "dropout=1.0"),
        ("ModelConfig", {"dropout": math.nan}, "dropout=nan"),
        ("ModelConfig", {"trainable": "some"}, "trainable=some: must be auto, all, no_embeddings"),
        ("ModelConfig", {"trainable": "top_0"}, "trainable=top_0"),
        ("ModelConfig", {"encoder_heads": 0}, "encoder_heads=0"),
        ("ModelConfig", {"lowercase": False}, "lowercase=False: a pretrained encoder has"),
        ("ModelConfig", {"strip_accents": True}, "strip_accents=True: a pretrained encoder"),
        ("ClientTrainingConfig", {"batch_size": 0}, "batch_size=0"),
        ("ClientTrainingConfig", {"client_learning_rate": 0.0}, "client_learning_rate=0.0"),
        ("ClientTrainingConfig", {"client_learning_rate": math.inf}, "client_learning_rate=inf"),
        ("ClientTrainingConfig", {"client_momentum": 0.9}, "only client_optimizer=sgd uses it"),
        (
            "ClientTrainingConfig",
            {"client_optimizer": "sgd", "client_weight_decay": 0.1},
            "only client_optimizer=adamw uses it",
        ),
        ("ClientTrainingConfig", {"client_weight_decay": -1.0}, "client_weight_decay=-1.0"),
        ("ClientTrainingConfig", {"client_clip_norm": 0.0}, "client_clip_norm=0.0"),
        ("FederatedConfig", {"client_epochs": 0}, "client_epochs=0"),
        ("FederatedConfig", {"local_steps": 0}, "local_steps=0"),
        ("FederatedConfig", {"local_steps": 4, "client_epochs": 2}, "client_epochs=2: local"),
        ("FederatedConfig", {"proximal_strength": 0.0}, "proximal_strength=0.0: must be above 0"),
        ("FederatedConfig", {"logit_adjustment": -0.5}, "logit_adjustment=-0.5: must be 0 or"),
        ("FederatedConfig", {"logit_adjustment": float("nan")}, "logit_adjustment=nan: must be"),
        ("CompressionConfig", {"upload_bits": 16}, "upload_bits=16: must be 32, 8 or 4"),
        ("FederatedConfig", {"server_learning_rate": -1.0}, "server_learning_rate=-1.0"),
        (
            "FederatedConfig",
            {"server_optimizer": "adam", "server_momentum": 0.5},
            "only server_optimizer=sgd uses it",
        ),
        ("FederatedConfig", {"server_momentum": 1.0}, "server_momentum=1.0"),
        ("FederatedConfig", {"server_epsilon": 0.0}, "server_epsilon=0.0"),
        ("FederatedConfig", {"warmup_rounds": -1}, "warmup_rounds=-1"),
        ("RoundsConfig", {"rounds": 0}, "rounds=0: must be 1 or more"),
        ("RoundsConfig", {"eval_every": 0}, "eval_every=0"),
        ("RoundsConfig", {"checkpoint_every": 0}, "checkpoint_every=0"),
        ("CentralConfig", {"warmup_fraction": 1.0}, "warmup_fraction=1.0"),
        ("ExecutionConfig", {"max_failed_clients": -1}, "max_failed_clients=-1"),
        ("ExecutionConfig", {"context": "tff", "devices": "/CPU:0"}, "devices=/CPU:0: only"),
        (
            "ExecutionConfig",
            {"context": "tff", "max_failed_clients": 1},
            "only context=streaming",
        ),
        ("ExecutionConfig", {"ray_actors": 2}, "ray_actors=2: only context=ray can use it"),
        ("ExecutionConfig", {"ray_address": "auto"}, "ray_address=auto: only context=ray"),
        ("ExecutionConfig", {"context": "ray", "ray_actors": 0}, "ray_actors=0: must be 1"),
        ("ExecutionConfig", {"context": "ray", "devices": "/CPU:0"}, "only context=streaming"),
    ],
)
def test_values_out_of_range_name_their_flag(group, changes, message):
    with pytest.raises(UserError) as raised:
        getattr(configs, group)(**changes)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_ray_must_be_installed_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(execution.importlib.util, "find_spec", lambda name: None)
    configs.ExecutionConfig()
    with pytest.raises(UserError, match="EXTRAS=ray scripts/setup"):
        configs.ExecutionConfig(context="ray")


def test_flags_without_effect_are_told():
    clients = configs.ClientsConfig(partition="natural", num_clients=7, dirichlet_alpha=0.5)
    model = configs.ModelConfig(encoder="minilm", encoder_width=64)
    assert configs.without_effect(clients, model) == [
        "`num_clients`=7 has no effect with `partition`=natural",
        "`encoder_width`=64 has no effect with `encoder`=minilm",
    ]
    assert configs.without_effect(configs.ClientsConfig(partition="dirichlet", num_clients=7)) == []
    assert configs.without_effect(configs.FederatedConfig(server_epsilon=0.1)) == [
        "`server_epsilon`=0.1 has no effect with `server_optimizer`=sgd"
    ]
