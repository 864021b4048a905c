"""What a search costs, and which searches have no price."""

import dataclasses
import json

import pytest

from tff_nlp import errors
from tff_nlp.clients import partitions
from tff_nlp.corpora import load
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.privacy import accounting, calibration, events
from tff_nlp.runs import configs, search_space, tuning_price

TRAIN = partitions.build(
    load.load_corpus(CorpusSource(path="synthetic")).corpus, "iid", 0, num_clients=200
)
RUN = configs.FederatedRun(
    clients=configs.ClientsConfig(
        num_clients=200, clients_per_round=20, held_out_fraction=0.1, partition="iid"
    ),
    rounds=configs.RoundsConfig(rounds=30),
    privacy=configs.PrivacyConfig(dp="gaussian", noise_multiplier=1.2, delta=1e-3),
)
RATE = "client_learning_rate=loguniform(1e-4,1e-2)"


def price(run=RUN, search=RATE, **tuning):
    config = configs.TuningConfig(search=search, **tuning)
    return tuning_price.check(run, config, search_space.parse(search), TRAIN)


def with_(run=RUN, **groups):
    return dataclasses.replace(
        run,
        **{n: dataclasses.replace(getattr(run, n), **values) for n, values in groups.items()},
    )


def test_the_price_of_one_training_is_that_of_the_run():
    found = price(trials=10)
    event = events.compose([events.poisson_round(20 / 200, 1.2)] * 30)
    assert found.paid.one == pytest.approx(calibration.epsilon_by("rdp", 1e-3)(event))
    assert found.paid.best > found.paid.one and found.paid.mean == 10
    assert found.unit == "client" and accounting.adjacency_of(event).name == "ADD_OR_REMOVE_ONE"
    first, _, last = found.lines()
    assert (
        f"the best of a random number of them, 10 on average, has epsilon {found.paid.best:.4g}"
        in first
    )
    assert "no guarantee for the clients that never train" in last
    assert found.to_json()["guaranteed"]


def test_a_longer_search_costs_more():
    assert price(trials=5).paid.best < price(trials=20).paid.best < price(trials=80).paid.best


def test_without_privacy_there_is_no_price():
    assert price(with_(privacy={"dp": "none", "noise_multiplier": None, "delta": None})) is None


@pytest.mark.parametrize(
    "search",
    [
        "rounds=choice(10,30)",
        "clients_per_round=choice(10,20)",
        "noise_multiplier=choice(1.0,1.2)",
        "sampling=choice(poisson,fixed)",
    ],
)
def test_all_trainings_have_the_same_epsilon(search):
    with pytest.raises(errors.UserError, match="changes the epsilon of a training"):
        price(search=search)


def test_steps_are_free_for_clients_and_not_for_examples():
    assert price(search="client_epochs=choice(1,4);clipping_norm=choice(0.5,1.0)").paid
    by_example = with_(
        privacy={"dp": "example_level"},
        clients={"client_validation_fraction": 0.1, "held_out_fraction": 0.0},
    )
    found = price(by_example)
    assert found.unit == "example" and "no guarantee for the validation texts" in found.lines()[-1]
    with pytest.raises(errors.UserError, match="search=client_epochs: changes the epsilon"):
        price(by_example, search="client_epochs=choice(1,4)")


@pytest.mark.parametrize(
    ("changes", "tuning", "why"),
    [
        (
            {"clients": {"client_validation_fraction": 0.1}},
            {"objective": "validation"},
            "the validation texts of the protected clients decide without noise",
        ),
        ({"privacy": {"noise_seed": 1}}, {}, "repeat"),
        (
            {"privacy": {"allow_dp_mismatch": True}},
            {"search": "weighting=choice(uniform,examples)"},
            "weight",
        ),
        ({"privacy": {"noise_multiplier": 0.0}}, {}, "infinite"),
        (
            {
                "privacy": {"dp": "distributed"},
                "federated": {"secure_aggregation": "plain"},
            },
            {},
            "no known price",
        ),
    ],
)
def test_what_has_no_guarantee_says_so(changes, tuning, why):
    found = price(with_(**changes), **tuning)
    assert found.paid is None and not found.to_json()["guaranteed"]
    assert any(line.startswith("no guarantee for the search") for line in found.lines())
    assert why in " ".join(found.lines())


def test_trackers_would_publish_the_other_trials():
    tracked = dataclasses.replace(RUN, tracking=configs.TrackingConfig(trackers="mlflow"))
    with pytest.raises(errors.UserError, match="trackers=mlflow: would receive every trial"):
        price(tracked)


def test_only_the_best_trial_may_be_published(tmp_path):
    best, other = tmp_path / "trials" / "002", tmp_path / "trials" / "001"
    assert tuning_price.of_trial(best) == {}
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "drawn.json").write_text("{}")
    with pytest.raises(errors.UserError, match="a trial of a search that has not ended"):
        tuning_price.of_trial(best)
    found = price(trials=10)
    written = {"privacy": found.to_json(), "best": {"folder": "002"}}
    (tmp_path / "tuning.json").write_text(json.dumps(written))
    stated = tuning_price.of_trial(best)
    assert stated["guaranteed"] and f"has epsilon {found.paid.best:.4g}" in stated["line"]
    with pytest.raises(errors.UserError, match="only the best one, 002, may be published"):
        tuning_price.of_trial(other)


def test_some_texts_must_decide():
    without = with_(clients={"held_out_fraction": 0.0})
    with pytest.raises(errors.UserError, match="client_validation_fraction=0.0: must be above 0"):
        price(without)
    with pytest.raises(errors.UserError, match="held_out_fraction=0.0: must be above 0"):
        price(without, objective="held_out")
