"""experiments/attack.py on a run: texts come back, unless something hides them."""

import json

import pytest

from experiments import attack
from tests.experiments import conftest


@pytest.mark.slow
def test_unprotected_texts_come_back_and_noisy_ones_do_not(tmp_path, run_train, cache):
    run = tmp_path / "run"
    sizes = {"encoder_width": 128, "encoder_heads": 4, "encoder_layers": 2, "num_clients": 8}
    ended = run_train(run, rounds=1, client_test_fraction=0, **sizes)
    assert ended.code == 0, ended.err
    flags = {
        "run": run,
        "cache_dir": cache,
        "scenarios": "unprotected,as_run,head,lora_first_round,example_noise",
        "sentences": 1,
        "victims": 2,
    }
    ended = conftest.script(attack, *conftest.flags(flags))
    assert ended.code == 0, ended.err
    found = json.loads((run / "text_attack.json").read_text())["scenarios"]
    assert found["unprotected"] == {"rouge_1": 1.0, "rouge_2": 1.0, "exact": 1.0, "tokens": 1.0}
    # Many steps hide texts, but not tokens.
    assert found["as_run"]["tokens"] == 1.0
    for name in ("head", "lora_first_round", "example_noise"):
        assert found[name]["exact"] == 0.0, name
    assert found["example_noise"]["tokens"] < 0.5 and found["head"]["tokens"] is None
    texts = json.loads((run / "private" / "recovered_texts.json").read_text())
    assert texts["unprotected"][0]["texts"] == texts["unprotected"][0]["found"]
    assert (run / "text_attack.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--run is needed"),
        (["--run=nowhere"], "--run=nowhere"),
        (["--run=.", "--scenarios=magic"], "--scenarios=magic: must be some of"),
        (["--run=.", "--victims=0"], "--victims=0"),
    ],
)
def test_mistakes_end_with_one_line(arguments, message):
    ended = conftest.script(attack, *arguments)
    assert ended.code == 2 and len(ended.err.splitlines()) == 1
    assert message in ended.err
