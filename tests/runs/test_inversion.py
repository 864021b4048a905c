"""The scenarios of the attack on texts, its table and its picture."""

import pytest

from tff_nlp import errors
from tff_nlp.runs import configs, inversion, inversion_picture, scenarios
from tff_nlp.runs.configs.inversion import SCENARIOS

FOUND = {
    "unprotected": {"rouge_1": 1.0, "rouge_2": 0.5, "exact": 0.25, "tokens": 1.0},
    "head": {"rouge_1": 0.0, "rouge_2": 0.0, "exact": 0.0, "tokens": None},
}
RUN = configs.FederatedRun(
    model=configs.ModelConfig(adapter="lora", lora_rank=4),
    privacy=configs.PrivacyConfig(dp="gaussian", noise_multiplier=1.0),
    compression=configs.CompressionConfig(compression="signs"),
    attack=configs.AttackConfig(attack="sign_flip"),
)


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_has_one_protection_and_none_of_the_run(name):
    found = scenarios.of(name, RUN, configs.InversionConfig(sentences=3, secure_sum_clients=4))
    run = found.run
    if name == "as_run":
        assert found.sentences is None and run.model.adapter == "lora"
        return
    plain = {
        "optimizer": run.client_training.client_optimizer == "sgd",
        "dropout": run.model.dropout == run.model.encoder_dropout == 0,
        "one step": found.sentences == run.client_training.batch_size == 3,
        "all weights": run.model.trainable == "all" and not run.model.has_adapter,
        "all bytes": not run.compression.setting,
        "one client": found.clients == 1,
        "no noise": found.noise is None,
    }
    changed = [what for what, holds in plain.items() if not holds]
    assert len(changed) == (name != "unprotected"), changed
    assert (found.later > 0) == (name == "lora_later")
    assert (run.privacy.dp, run.attack.attack) == ("none", "none")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"federated": configs.FederatedConfig(algorithm="fedmd")}, "algorithm"),
        ({"federated": configs.FederatedConfig(secure_aggregation="plain")}, "secure_aggregation"),
        ({"privacy": configs.PrivacyConfig(dp="example_level", noise_multiplier=1.0)}, "dp"),
        ({"federated": configs.FederatedConfig(logit_adjustment=1.0)}, "logit_adjustment"),
    ],
)
def test_clients_that_are_not_simulated_are_not_attacked_as_they_are(changes, named):
    assert scenarios.why_not_as_run(configs.FederatedRun(**changes)).startswith(f"`{named}`=")
    assert scenarios.why_not_as_run(configs.FederatedRun()) == ""


def test_the_table_has_a_line_for_each_scenario():
    assert inversion.table(FOUND) == [
        "scenario     ROUGE-1  ROUGE-2  whole texts  tokens",
        "unprotected    1.000    0.500        0.250   1.000",
        "head           0.000    0.000        0.000       -",
    ]


def test_the_picture_is_drawn(tmp_path):
    inversion_picture.draw(FOUND, tmp_path / "picture.png", title="runs/reviews")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenarios": "unprotected,magic"}, "scenarios=magic: must be some of unprotected"),
        ({"sentences": 0}, "sentences=0"),
        ({"victims": 0}, "victims=0"),
        ({"noise_multiplier": 0.0}, "noise_multiplier=0"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(errors.UserError, match=message):
        configs.InversionConfig(**options)
