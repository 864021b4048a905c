"""A silo's limits, and the plan that they are compared with."""

import dataclasses
import json

import pytest

from tff_nlp import errors
from tff_nlp.deployment import plan, policy

PLAN = plan.Plan(
    settings={
        "task": "classification",
        "algorithm": "fedavg",
        "encoder": "minilm",
        "rounds": 10,
        "client_epochs": 2,
        "local_steps": None,
        "clients_per_round": 5,
        "dp": "gaussian",
        "clipping_norm": 0.5,
        "noise_multiplier": 1.0,
        "secure_aggregation": "masked",
    },
    labels=("no", "yes"),
    silos=("a", "b", "c", "d", "e"),
    computation="abc",
    model={"vocabulary": "v"},
    sent={"down": 100, "up": 30, "masked": 70},
    threshold=4,
    versions={"tff_nlp": "0.1"},
)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"tasks": ["pairs"]}, "tasks classification is not one of pairs"),
        ({"algorithms": ["scaffold"]}, "algorithms fedavg is not one of scaffold"),
        ({"encoders": []}, "encoders minilm is not one of"),
        ({"max_rounds": 9}, "10 is more than max_rounds 9"),
        ({"max_local_epochs": 1}, "2 is more than max_local_epochs 1"),
        ({"max_bytes_up": 99}, "100 is more than max_bytes_up 99"),
        ({"dp": ["example_level"]}, "dp gaussian is not one of example_level"),
        ({"max_clipping_norm": 0.4}, "0.5 is more than max_clipping_norm 0.4"),
        ({"min_noise_multiplier": 1.1}, "1.0 is less than min_noise_multiplier 1.1"),
        ({"secure_aggregation": ["ckks"]}, "secure_aggregation masked is not one of ckks"),
        ({"min_threshold": 5}, "4 is less than min_threshold 5"),
        ({"min_silos": 6}, "5 is less than min_silos 6"),
    ],
)
def test_a_plan_beyond_a_limit_is_refused(tmp_path, limits, message):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(limits))
    with pytest.raises(errors.UserError, match=message):
        policy.load(str(path)).check(PLAN)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"max_rounds": 10, "max_local_epochs": 2, "max_bytes_up": 100},
        {"max_clipping_norm": 0.5, "min_noise_multiplier": 1, "min_threshold": 4, "min_silos": 5},
        {"tasks": ["pairs", "classification"], "dp": ["gaussian"]},
    ],
)
def test_a_plan_within_the_limits_is_permitted(tmp_path, limits):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(limits))
    policy.load(str(path)).check(PLAN)


def test_a_limit_of_the_norm_means_that_updates_must_be_clipped():
    unclipped = dataclasses.replace(
        PLAN, settings={**PLAN.settings, "dp": "none", "noise_multiplier": None}
    )
    for limits in (policy.Policy(max_clipping_norm=9.0), policy.Policy(min_noise_multiplier=0.1)):
        with pytest.raises(errors.UserError, match="does not permit"):
            limits.check(unclipped)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[]", "is no JSON object"),
        ('{"rounds": 3}', "there is no limit rounds; the limits are tasks"),
        ('{"max_rounds": "3"}', "max_rounds must be an integer of 0 or more"),
        ('{"max_rounds": true}', "max_rounds must be an integer"),
        ('{"max_rounds": -1}', "max_rounds must be an integer of 0 or more"),
        ('{"max_clipping_norm": NaN}', "max_clipping_norm must be a number"),
        ('{"dp": "none"}', "dp must be a list of names"),
        ('{"dp": [1]}', "dp must be a list of names"),
    ],
)
def test_a_wrong_policy_is_named(tmp_path, text, message):
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(errors.UserError, match=f"^policy=.*{message}"):
        policy.load(str(path))


def test_a_plan_comes_back_from_its_text_and_tells_differences():
    again = plan.decode(PLAN.encode())
    assert again == PLAN
    assert again.digest == PLAN.digest
    other = dataclasses.replace(PLAN, settings={**PLAN.settings, "rounds": 20})
    assert PLAN.differences(other) == ["rounds 20 in place of 10"]
    assert other.digest != PLAN.digest


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '{"format": 1}', PLAN.encode().replace('"up": 30', '"up": "x"'), "[" * 10**5],
)
def test_a_text_that_is_no_plan_is_refused(text):
    with pytest.raises(errors.UserError, match="the plan is damaged"):
        plan.decode(text)


def test_a_plan_of_another_version_is_refused():
    with pytest.raises(errors.UserError, match="another format"):
        plan.decode(PLAN.encode().replace('"format": 1', '"format": 2'))
