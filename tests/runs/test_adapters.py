"""Runs with an adapter: resumed to the bit, and one model in the SavedModel and in adapter.npz."""

import dataclasses
import json

import numpy as np
import pytest

from tests.runs.test_whole_runs import write_reviews
from tff_nlp.errors import UserError
from tff_nlp.models.adapters import names
from tff_nlp.runs import adapters, central_run, configs, data, federated_run, text_classifier
from tff_nlp.serving import predictor

FLORA = {"adapter": names.LORA, "lora_aggregation": names.FLORA, "lora_rank": 2}
TEXTS = ["great phone 3", "awful phone 4"]


def described(tmp_path, folder, rounds=2, **model):
    return configs.FederatedRun(
        corpus=configs.CorpusConfig(corpus=write_reviews(tmp_path / "reviews.csv")),
        clients=configs.ClientsConfig(num_clients=4, clients_per_round=2),
        model=configs.ModelConfig(
            encoder="random", encoder_width=16, encoder_layers=1, max_tokens=8, **model
        ),
        rounds=configs.RoundsConfig(rounds=rounds),
        place=configs.PlaceConfig(
            output_dir=str(tmp_path / folder), cache_dir=str(tmp_path / "cache")
        ),
    )


def rebuilt(run):
    """Returns the learner of a run before its training."""
    texts = data.load_data(run.corpus, 0, run.place.cache_dir)
    model = run.model.resolved(run.corpus.task)
    cache = text_classifier.user_folders.cache_dir(run.place.cache_dir)
    return text_classifier.build(texts.train, model, cache, logit_adjustment=0.0, seed=0)


def variables(folder):
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder / "model" / "variables" / "variables"))
    return len(reader.get_variable_to_shape_map())


@pytest.mark.slow
def test_a_run_with_exact_aggregation(tmp_path):
    run = described(tmp_path, "run", rounds=1, **FLORA)
    federated_run.run(run)
    with np.load(tmp_path / "run" / "adapter.npz") as file:
        kernels = [name for name in file.files if name.endswith("query/query/kernel")]
        assert len(kernels) == 1

    result = json.loads((tmp_path / "run" / "result.json").read_text())
    # Two matrices of 16 x 16 with factors of rank 2, and the head: 4 bytes each.
    sent = result["bytes_per_client"]
    assert sent["up"] == sent["down"] == 4 * (2 * 2 * 16 * 2 + 2 * 16 + 2)
    # The changed matrices, and the number of the round.
    assert sent["other_down"] == 4 * 2 * 16 * 16 + 4

    # The factors are folded into the exported model, so it has fewer weights.
    served = predictor.load(tmp_path / "run" / "model").predict(TEXTS)
    learner = rebuilt(run)
    weights = adapters.load(learner, tmp_path / "run" / "adapter.npz")
    assert variables(tmp_path / "run") < len(weights.trainable) + len(weights.non_trainable)
    found = learner.predict(weights, TEXTS)
    assert [label for label, _ in found] == list(served.labels)
    np.testing.assert_allclose(
        [share for _, share in found], served.probabilities.max(axis=1), atol=1e-5
    )


@pytest.mark.slow
def test_changed_matrices_are_part_of_the_checkpoint(tmp_path):
    federated_run.run(described(tmp_path, "whole", **FLORA))
    federated_run.run(described(tmp_path, "parts", rounds=1, **FLORA))
    federated_run.run(described(tmp_path, "parts", **FLORA))
    with (
        np.load(tmp_path / "whole" / "adapter.npz") as one,
        np.load(tmp_path / "parts" / "adapter.npz") as other,
    ):
        assert sorted(one.files) == sorted(other.files)
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])


def test_another_adapter_is_refused(tmp_path):
    run = described(tmp_path, "run", adapter=names.HOULSBY, adapter_width=2)
    learner = rebuilt(run)
    path = tmp_path / "adapter.npz"
    weights = learner.model.initial_weights()
    import tensorflow_federated as tff

    adapters.save(learner, tff.learning.models.ModelWeights(*weights), path)
    loaded = adapters.load(learner, path)
    np.testing.assert_array_equal(loaded.trainable[0], weights[0][0])
    wider = rebuilt(dataclasses.replace(run, model=dataclasses.replace(run.model, adapter_width=3)))
    with pytest.raises(UserError, match="another shape; it belongs to another network"):
        adapters.load(wider, path)
    prefixed = rebuilt(described(tmp_path, "run", adapter=names.PREFIX))
    with pytest.raises(UserError, match="has no weight .*; it belongs to another adapter"):
        adapters.load(prefixed, path)
    path.write_bytes(b"not an archive")
    with pytest.raises(UserError, match="cannot be read as an adapter"):
        adapters.load(learner, path)


def test_a_central_run_joins_no_clients(tmp_path):
    model = configs.ModelConfig(adapter=names.LORA, lora_aggregation=names.FEDEX)
    with pytest.raises(UserError, match="lora_aggregation=fedex: joins clients"):
        configs.CentralRun(model=model)


@pytest.mark.slow
def test_a_central_run_with_an_adapter(tmp_path):
    run = described(tmp_path, "central", adapter=names.LORA, lora_rank=2)
    central_run.run(
        configs.CentralRun(
            corpus=run.corpus,
            model=run.model,
            place=run.place,
            central=configs.CentralConfig(epochs=1),
        )
    )
    result = json.loads((tmp_path / "central" / "result.json").read_text())
    assert result["trainable_parameters"] == 2 * 2 * 16 * 2 + 2 * 16 + 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trainable": "adapter"}, "trainable=adapter: there is no adapter without"),
        ({"adapter": "lora", "trainable": "all"}, "trainable=all: an adapter is for a network"),
        ({"adapter": "lora", "trainable": "top_1"}, "trainable=top_1: trains matrices"),
        ({"adapter": "lora", "lora_matrices": "query,x"}, "lora_matrices=x: must be one of query"),
        ({"adapter": "lora", "lora_rank": 0}, "lora_rank=0: must be 1 or more"),
        ({"adapter": "lora", "lora_alpha": 0.0}, "lora_alpha=0.0: must be above 0"),
        (
            {"adapter": "lora", "lora_aggregation": "flora", "lora_client_ranks": "2,9"},
            "lora_client_ranks=9: must be from 1 to lora_rank=8",
        ),
        (
            {"adapter": "lora", "lora_aggregation": "flora", "lora_client_ranks": "2,x"},
            "lora_client_ranks=2,x: must be whole numbers",
        ),
        (
            {"adapter": "lora", "lora_client_ranks": "2,4"},
            "lora_client_ranks=2,4: a client of a small rank would lose a part of B",
        ),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(UserError, match=message):
        configs.ModelConfig(**options)


@pytest.mark.parametrize("options", [{"adapter": "prefix"}, {"trainable": "head"}])
def test_what_a_decoder_does_not_have_is_refused_before_it_is_loaded(options):
    ((name, value),) = options.items()
    with pytest.raises(UserError, match=f"^{name}={value}: "):
        configs.ModelConfig(**options).resolved("language_model")


@pytest.mark.slow
def test_clients_of_different_ranks_send_less(tmp_path):
    sent = []
    for folder, ranks in (("equal", ""), ("mixed", "1,2")):
        run = described(
            tmp_path,
            folder,
            adapter=names.LORA,
            lora_rank=2,
            lora_aggregation=names.FLORA,
            lora_client_ranks=ranks,
        )
        federated_run.run(run)
        result = json.loads((tmp_path / folder / "result.json").read_text())
        sent.append(result["bytes_per_client"])
    # Two matrices with 2 x 16 x 2 numbers each. Half of the clients send half of them.
    factors = 4 * 2 * 2 * 16 * 2
    assert sent[0]["up"] - sent[1]["up"] == pytest.approx(factors / 4, abs=4)
    assert sent[0]["down"] - sent[1]["down"] == sent[0]["up"] - sent[1]["up"]
