"""Every method on a real corpus learns more than the most frequent label."""

import json

import pytest

from tff_nlp.aggregation.compression import names as compressions
from tff_nlp.aggregation.robust import names as robust
from tff_nlp.models.adapters import names
from tff_nlp.runs import configs, federated_run, inversion

pytestmark = [pytest.mark.slow, pytest.mark.corpora]

# Plain SGD learns slowly from a random start, so these train the head of a pretrained network.
SGD = {
    "client_training": {"client_optimizer": "sgd", "client_learning_rate": 1.0},
    "model": {"trainable": "head", "dropout": 0.0},
}
# Name of the method -> what differs from FedAvg with all weights, by config.
ALGORITHMS = {
    "fedprox": {"federated": {"algorithm": "fedprox"}},
    "mime_lite": {
        "federated": {"algorithm": "mime_lite"},
        "client_training": {"client_optimizer": "adamw"},
    },
    "feddf": {"federated": {"algorithm": "feddf"}},
    "fedmd": {"federated": {"algorithm": "fedmd"}},
    # The default temperature makes the label that all airlines share nearly certain.
    "dsfl": {"federated": {"algorithm": "dsfl"}, "distillation": {"dsfl_temperature": 1.0}},
    "clients of two kinds": {
        "federated": {"algorithm": "fedmd"},
        "distillation": {"client_encoders": "random:1x32,random:2x64"},
    },
    "fedper": {"federated": {"algorithm": "fedper"}, "clients": {"client_test_fraction": 0.2}},
    "ditto": {"federated": {"algorithm": "ditto"}, "clients": {"client_test_fraction": 0.2}},
    "fedbuff": {
        "federated": {"algorithm": "fedbuff"},
        "clients": {"clients_per_round": 2},
        "devices": {"concurrency": 4, "device_profiles": "equal"},
        "rounds": {"rounds": 12, "eval_every": 12},
    },
    "slow devices": {
        "devices": {"device_profiles": "equal", "round_deadline": 60.0, "stragglers": "partial"}
    },
    "norm bound": {"aggregation": {"aggregator": robust.NORM_BOUND, "update_norm_bound": 5.0}},
    # Bulyan withstands no attacker among six clients.
    **{
        f"{rule} against an attacker": {
            "aggregation": {"aggregator": rule},
            "attack": {"attack": "sign_flip", "attack_fraction": 0.1},
        }
        for rule in robust.COMPARING
        if rule != robust.BULYAN
    },
    **{name: {"compression": {"compression": name}} for name in compressions.COMPRESSIONS[2:]},
    # In four rounds, clients cannot make up for a smaller fraction.
    "top_k": {"compression": {"compression": "top_k", "compression_fraction": 0.1}},
    "4 bits": {"compression": {"upload_bits": 4}},
    "encrypted sums": {"federated": {"secure_aggregation": "ckks"}},
    "bulyan": {"aggregation": {"aggregator": robust.BULYAN}},
    "fine_tune": {
        "personalization": {"personalize": "fine_tune"},
        "clients": {"client_test_fraction": 0.2},
    },
}
PRETRAINED = {
    "scaffold": {**SGD, "federated": {"algorithm": "scaffold"}},
    "qfedavg": {**SGD, "federated": {"algorithm": "qfedavg"}},
    **{
        f"lora, {way}": {"model": {"adapter": names.LORA, "lora_aggregation": way}}
        for way in names.AGGREGATIONS
    },
    "lora of mixed ranks": {
        "model": {
            "adapter": names.LORA,
            "lora_aggregation": names.FLORA,
            "lora_client_ranks": "2,8",
        }
    },
    "houlsby": {"model": {"adapter": names.HOULSBY, "adapter_width": 16}},
    "prefix": {"model": {"adapter": names.PREFIX}},
    "biases": {"model": {"trainable": "biases"}, "client_training": {"client_learning_rate": 3e-3}},
}


def scores(tmp_path, method, **config):
    """Returns the result of a run with a method."""
    parts = {name: {**config.get(name, {}), **method.get(name, {})} for name in {*config, *method}}
    kinds = {
        "corpus": configs.CorpusConfig,
        "clients": configs.ClientsConfig,
        "model": configs.ModelConfig,
        "client_training": configs.ClientTrainingConfig,
        "federated": configs.FederatedConfig,
        "distillation": configs.DistillationConfig,
        "personalization": configs.PersonalizationConfig,
        "aggregation": configs.AggregationConfig,
        "compression": configs.CompressionConfig,
        "attack": configs.AttackConfig,
        "devices": configs.DevicesConfig,
        "rounds": configs.RoundsConfig,
    }
    place = configs.PlaceConfig(output_dir=str(tmp_path / "run"))
    groups = {name: kinds[name](**options) for name, options in parts.items()}
    federated_run.run(configs.FederatedRun(place=place, **groups))
    return json.loads((tmp_path / "run" / "result.json").read_text())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_airlines_with_their_tweets(tmp_path, shared_corpora, name):
    result = scores(
        tmp_path,
        ALGORITHMS[name],
        corpus={
            "corpus": str(shared_corpora / "airline_tweets" / "Tweets.csv"),
            "text_column": "text",
            "label_column": "airline_sentiment",
            "client_column": "airline",
            "encoding": "utf-8,latin-1",
        },
        clients={"clients_per_round": 6, "client_test_fraction": 0.0},
        model={"encoder": "random", "encoder_layers": 1, "encoder_width": 64, "max_tokens": 24},
        client_training={"client_learning_rate": 3e-3},
        federated={"local_steps": 30},
        rounds={"rounds": 4, "eval_every": 4},
    )
    if name == "fedper":  # Only the clients have trained heads.
        assert result["personal"]["after"]["mean"] > 0.68
    else:
        assert result["test"]["accuracy"] > result["test"]["majority_accuracy"] + 0.05


@pytest.mark.parametrize("name", PRETRAINED)
def test_phrases_of_films_with_a_pretrained_encoder(tmp_path, shared_corpora, name):
    result = scores(
        tmp_path,
        PRETRAINED[name],
        corpus={
            "corpus": str(shared_corpora / "sst2_glue" / "dev.tsv"),
            "text_column": "sentence",
            "label_column": "label",
            "quoting": "none",
            "test_fraction": 0.05,
        },
        clients={"partition": "iid", "num_clients": 10, "clients_per_round": 5},
        model={"max_tokens": 32},
        federated={"local_steps": 10},
        rounds={"rounds": 2, "eval_every": 2},
    )
    if name == f"lora, {names.FEDSA}":  # Only the clients have trained factors B.
        assert result["personal"]["after"]["mean"] > 0.65
    else:
        assert result["test"]["accuracy"] > result["test"]["majority_accuracy"] + 0.05


def test_a_sentence_comes_back_from_an_unprotected_update(tmp_path, shared_corpora):
    """DAGER is exact for one sentence (Petrov et al. 2024, table 1), and noise hides it."""
    scores(
        tmp_path,
        {},
        corpus={
            "corpus": str(shared_corpora / "sst2_glue" / "test.tsv"),
            "text_column": "sentence",
            "label_column": "label",
            "quoting": "none",
        },
        clients={"partition": "iid", "num_clients": 100, "clients_per_round": 2},
        model={"max_tokens": 48},
        rounds={"rounds": 1, "eval_every": 1},
    )
    options = configs.InversionConfig(
        scenarios="unprotected,example_noise,lora_first_round", sentences=1, victims=3
    )
    found = inversion.attack(tmp_path / "run", options)["scenarios"]
    assert found["unprotected"]["exact"] == found["unprotected"]["tokens"] == 1.0
    assert found["example_noise"]["exact"] == found["lora_first_round"]["exact"] == 0.0
