"""Flags: one field is one flag, every one is checked, has an effect, and is saved with the run."""

import ast
import dataclasses
import json
import math
import pathlib

import pytest
from absl import flags

from experiments import federated_run, flag_groups, settings, train, train_centralized
from tff_nlp.clients import partitions
from tff_nlp.errors import UserError
from tff_nlp.execution import contexts
from tff_nlp.learning import client_work, optimizers
from tff_nlp.models import classifier, encoders

EXPERIMENTS = pathlib.Path(settings.__file__).parent
SCRIPTS = {"train": train, "train_centralized": train_centralized}


def parsed(group, *arguments):
    values = flags.FlagValues()
    flag_groups.define(group, values)
    values(["program", *arguments])
    return flag_groups.parse(group, values)


@dataclasses.dataclass(frozen=True)
class Group:
    """One field of each kind."""

    name: str = flag_groups.flag("a", "A name.")
    kind: str = flag_groups.flag("x", "A choice.", ("x", "y"))
    count: int = flag_groups.flag(3, "A number.")
    limit: int | None = flag_groups.flag(None, "A number or none.")
    rate: float = flag_groups.flag(0.5, "A number.")
    norm: float | None = flag_groups.flag(None, "A number or none.")
    on: bool = flag_groups.flag(True, "A switch.")


def test_defaults_and_values():
    assert parsed(Group) == Group()
    given = parsed(
        Group, "--name=b", "--kind=y", "--count=4", "--limit=5", "--rate=1e-3", "--norm=2", "--noon"
    )
    assert given == Group("b", "y", 4, 5, 1e-3, 2.0, False)
    assert flag_groups.record(given)["norm"] == 2.0
    assert list(flag_groups.record(given)) == [f.name for f in dataclasses.fields(Group)]


@pytest.mark.parametrize("argument", ["--kind=z", "--count=1.5", "--rate=fast", "--on=perhaps"])
def test_wrong_values_are_refused(argument):
    with pytest.raises(flags.Error, match=argument.partition("=")[0].lstrip("-")):
        parsed(Group, argument)


def test_names_that_are_stated_twice_agree():
    def choices(group, name):
        return group.__dataclass_fields__[name].metadata["choices"]

    assert settings.CONTEXTS == contexts.CONTEXTS
    assert choices(settings.ModelFlags, "compute_dtype") == tuple(encoders.COMPUTE_DTYPES)
    assert choices(settings.FederatedFlags, "weighting") == ("auto", *client_work.WEIGHTINGS)
    assert choices(settings.FederatedFlags, "server_optimizer") == optimizers.SERVER_OPTIMIZERS
    assert choices(settings.ClientTrainingFlags, "client_optimizer") == (
        "auto",
        *optimizers.CLIENT_OPTIMIZERS,
    )
    assert choices(settings.ModelFlags, "pooling") == classifier.POOLINGS
    assert choices(settings.ClientFlags, "partition") == ("auto", *partitions.KINDS)
    for name in classifier.TRAINABLE:
        settings.ModelFlags(trainable=name.replace("K", "1"))
    for choice, _ in settings._MEANT_FOR.values():
        assert choice in {f.name for g in train.GROUPS for f in dataclasses.fields(g)}


def attributes_read():
    """Returns every attribute name that the experiments read, outside of settings.py."""
    names = set()
    for path in EXPERIMENTS.glob("*.py"):
        if path.name != "settings.py":
            tree = ast.parse(path.read_text())
            names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return names


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_flag_is_read_somewhere(name):
    fields = {field.name for group in SCRIPTS[name].GROUPS for field in dataclasses.fields(group)}
    assert fields - attributes_read() == set()


def test_every_flag_reaches_the_configuration(finished, finished_centrally):
    for run, script in ((finished, train), (finished_centrally, train_centralized)):
        config = json.loads((run.folder / "config.json").read_text())
        fields = {f.name for group in script.GROUPS for f in dataclasses.fields(group)}
        places = {f.name for f in dataclasses.fields(settings.PlaceFlags)}
        assert fields - set(config) == places
        assert set(config) - fields == {"corpus (fingerprint)", "test_corpus (fingerprint)"}


def test_groups_are_those_of_the_run():
    hints = [field.type for field in dataclasses.fields(federated_run.FederatedRun)]
    assert hints == list(train.GROUPS)


@pytest.mark.parametrize(
    ("group", "changes", "message"),
    [
        ("CorpusFlags", {"test_fraction": 0.0}, "--test_fraction=0.0: must be between 0 and 1"),
        ("CorpusFlags", {"test_fraction": math.nan}, "--test_fraction=nan"),
        ("CorpusFlags", {"max_train_examples": 0}, "--max_train_examples=0: must be 1 or more"),
        ("ClientFlags", {"num_clients": 0}, "--num_clients=0: must be 1 or more"),
        ("ClientFlags", {"clients_per_round": 0}, "--clients_per_round=0"),
        ("ClientFlags", {"dirichlet_alpha": 0.0}, "--dirichlet_alpha=0.0: must be above 0"),
        ("ClientFlags", {"dirichlet_alpha": -1.0}, "--dirichlet_alpha=-1.0: must be above 0"),
        ("ClientFlags", {"dirichlet_alpha": math.inf}, "--dirichlet_alpha=inf"),
        ("ClientFlags", {"shards_per_client": 0}, "--shards_per_client=0"),
        ("ClientFlags", {"min_examples_per_client": 0}, "--min_examples_per_client=0"),
        ("ClientFlags", {"held_out_fraction": 1.0}, "--held_out_fraction=1.0"),
        ("ClientFlags", {"client_test_fraction": -0.1}, "--client_test_fraction=-0.1"),
        ("ModelFlags", {"max_tokens": 2}, "--max_tokens=2: must be from 3"),
        ("ModelFlags", {"max_tokens": 100_000}, "--max_tokens=100000"),
        ("ModelFlags", {"dropout": 1.0}, "--dropout=1.0"),
        ("ModelFlags", {"dropout": math.nan}, "--dropout=nan"),
        ("ModelFlags", {"trainable": "some"}, "--trainable=some: must be all, no_embeddings"),
        ("ModelFlags", {"trainable": "top_0"}, "--trainable=top_0"),
        ("ModelFlags", {"encoder_heads": 0}, "--encoder_heads=0"),
        ("ModelFlags", {"lowercase": False}, "--lowercase=False: a pretrained encoder keeps"),
        ("ModelFlags", {"strip_accents": True}, "--strip_accents=True: a pretrained encoder"),
        ("ClientTrainingFlags", {"batch_size": 0}, "--batch_size=0"),
        ("ClientTrainingFlags", {"client_learning_rate": 0.0}, "--client_learning_rate=0.0"),
        ("ClientTrainingFlags", {"client_learning_rate": math.inf}, "--client_learning_rate=inf"),
        ("ClientTrainingFlags", {"client_momentum": 0.9}, "only --client_optimizer=sgd uses it"),
        (
            "ClientTrainingFlags",
            {"client_optimizer": "sgd", "client_weight_decay": 0.1},
            "only --client_optimizer=adamw uses it",
        ),
        ("ClientTrainingFlags", {"client_weight_decay": -1.0}, "--client_weight_decay=-1.0"),
        ("ClientTrainingFlags", {"client_clip_norm": 0.0}, "--client_clip_norm=0.0"),
        ("FederatedFlags", {"client_epochs": 0}, "--client_epochs=0"),
        ("FederatedFlags", {"local_steps": 0}, "--local_steps=0"),
        ("FederatedFlags", {"local_steps": 4, "client_epochs": 2}, "--client_epochs=2: --local"),
        ("FederatedFlags", {"proximal_strength": 0.0}, "--proximal_strength=0.0: must be above 0"),
        ("FederatedFlags", {"logit_adjustment": -0.5}, "--logit_adjustment=-0.5: must be 0 or"),
        ("FederatedFlags", {"logit_adjustment": float("nan")}, "--logit_adjustment=nan: must be"),
        ("FederatedFlags", {"upload_bits": 16}, "--upload_bits=16: must be 32, 8 or 4"),
        ("FederatedFlags", {"server_learning_rate": -1.0}, "--server_learning_rate=-1.0"),
        (
            "FederatedFlags",
            {"server_optimizer": "adam", "server_momentum": 0.5},
            "only --server_optimizer=sgd uses it",
        ),
        ("FederatedFlags", {"server_momentum": 1.0}, "--server_momentum=1.0"),
        ("FederatedFlags", {"server_epsilon": 0.0}, "--server_epsilon=0.0"),
        ("FederatedFlags", {"warmup_rounds": -1}, "--warmup_rounds=-1"),
        ("RunFlags", {"rounds": 0}, "--rounds=0: must be 1 or more"),
        ("RunFlags", {"eval_every": 0}, "--eval_every=0"),
        ("RunFlags", {"checkpoint_every": 0}, "--checkpoint_every=0"),
        ("CentralFlags", {"warmup_fraction": 1.0}, "--warmup_fraction=1.0"),
        ("ExecutionFlags", {"max_failed_clients": -1}, "--max_failed_clients=-1"),
        ("ExecutionFlags", {"context": "tff", "devices": "/CPU:0"}, "--devices=/CPU:0: only"),
        ("ExecutionFlags", {"context": "tff", "max_failed_clients": 1}, "only --context=streaming"),
        ("ExecutionFlags", {"ray_actors": 2}, "--ray_actors=2: only --context=ray can use it"),
        ("ExecutionFlags", {"ray_address": "auto"}, "--ray_address=auto: only --context=ray"),
        ("ExecutionFlags", {"context": "ray", "ray_actors": 0}, "--ray_actors=0: must be 1"),
        ("ExecutionFlags", {"context": "ray", "devices": "/CPU:0"}, "only --context=streaming"),
    ],
)
def test_values_out_of_range_name_their_flag(group, changes, message):
    with pytest.raises(UserError) as raised:
        getattr(settings, group)(**changes)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_ray_must_be_installed_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(settings.importlib.util, "find_spec", lambda name: None)
    settings.ExecutionFlags()
    with pytest.raises(UserError, match="EXTRAS=ray scripts/setup"):
        settings.ExecutionFlags(context="ray")


def test_flags_without_effect_are_told():
    clients = settings.ClientFlags(partition="natural", num_clients=7, dirichlet_alpha=0.5)
    model = settings.ModelFlags(encoder="minilm", encoder_width=64)
    assert settings.without_effect(clients, model) == [
        "--num_clients=7 has no effect with --partition=natural",
        "--encoder_width=64 has no effect with --encoder=minilm",
    ]
    assert settings.without_effect(settings.ClientFlags(partition="dirichlet", num_clients=7)) == []
    assert settings.without_effect(settings.FederatedFlags(server_epsilon=0.1)) == [
        "--server_epsilon=0.1 has no effect with --server_optimizer=sgd"
    ]
