"""experiments/tune.py: trials, resuming, pruning, and the price of a private search."""

import json

import pytest

from experiments import tune
from tests.experiments import conftest
from tff_nlp.runs import cells, trial_study, tuning
from tff_nlp.runs.configs import tuning as tuning_config

pytest.importorskip("optuna")

RATE = "client_learning_rate=loguniform(1e-4,1e-2)"
TINY = (
    *("--encoder=random", "--encoder_width=16", "--encoder_layers=1", "--encoder_heads=1"),
    *("--max_tokens=16", "--max_train_examples=300", "--max_test_examples=100", "--rounds=2"),
    *("--eval_every=1", "--num_clients=10", "--partition=iid", "--clients_per_round=4"),
    *("--client_validation_fraction=0.2", "--client_test_fraction=0"),
)


def run(folder, *arguments):
    return conftest.script(tune, *TINY, f"--output_dir={folder}", *arguments)


@pytest.fixture
def scored(monkeypatch):
    """Replaces training by scores that depend on the learning rate, round by round."""
    trained = []

    def train(config, watchers=()):
        rate = config.client_training.client_learning_rate or 3e-3
        trained.append(rate)
        folder = conftest.pathlib.Path(config.place.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        if rate > 9e-3:
            return {"diverged": "round 1: NaN"}, {}
        score = 1 - abs(rate - 3e-3) * 100
        for number in range(1, config.rounds.rounds + 1):
            for watcher in watchers:
                watcher.add({"round": number, "validation_accuracy": score, "test_accuracy": 0.0})
        result = {"validation": {"accuracy": score}, "test": {"accuracy": score / 2}}
        result["held_out"] = result["validation"]
        (folder / "result.json").write_text(json.dumps(result))
        return {}, result

    monkeypatch.setattr(cells, "train", train)
    return trained


def read(folder):
    return json.loads((folder / "tuning.json").read_text())


def test_the_best_value_is_found_by_validation(tmp_path, scored):
    ended = run(tmp_path / "t", "--trials=15", f"--search={RATE}")
    assert ended.code == 0, ended.err
    found = read(tmp_path / "t")
    best = min(scored, key=lambda rate: abs(rate - 3e-3))
    assert found["best"]["values"] == {"client_learning_rate": best}
    assert found["best"]["test"] == pytest.approx(found["best"]["validation"] / 2)
    assert len(found["trials"]) == len(scored) == 15
    pruned = [trial for trial in found["trials"] if trial["pruned"]]
    assert pruned and all(trial["rounds"] == 1 for trial in pruned)
    assert f"--client_learning_rate={best}" in (tmp_path / "t" / "best.flags").read_text()
    assert (tmp_path / "t" / "tuning.png").stat().st_size > 10_000
    assert "the test texts decided nothing" in ended.out


def test_the_same_search_has_the_same_trials_and_goes_on(tmp_path, scored):
    assert run(tmp_path / "a", "--trials=6", f"--search={RATE}").code == 0
    whole, scored[:] = list(scored), []
    assert run(tmp_path / "b", "--trials=2", f"--search={RATE}").code == 0
    assert run(tmp_path / "b", "--trials=6", f"--search={RATE}").code == 0
    assert scored == whole
    assert run(tmp_path / "b", "--trials=6", f"--search={RATE}").code == 0
    assert len(scored) == 6
    # Another machine or another path of the same texts is the same search.
    assert run(tmp_path / "b", "--trials=6", "--devices=/CPU:0", f"--search={RATE}").code == 0
    other = run(tmp_path / "b", "--search=dropout=uniform(0,0.5)")
    assert other.code == 2 and "holds a search with other search" in other.err
    assert "other settings" in run(tmp_path / "b", "--seed=1", f"--search={RATE}").err


def test_an_interrupted_trial_keeps_its_values(tmp_path, scored, monkeypatch):
    with monkeypatch.context() as patch:

        def killed(config, watchers=()):
            raise KeyboardInterrupt

        patch.setattr(cells, "train", killed)
        assert run(tmp_path / "t", "--trials=3", f"--search={RATE}").code > 2
    [first] = trial_study.load(_search(tmp_path / "t")).get_trials()
    assert run(tmp_path / "t", "--trials=3", f"--search={RATE}").code == 0
    assert scored[0] == first.params["client_learning_rate"] and len(scored) == 3


def test_a_damaged_journal_loses_one_line_at_most(tmp_path, scored):
    assert run(tmp_path / "t", "--trials=2", f"--search={RATE}").code == 0
    journal = tmp_path / "t" / "study.journal"
    assert journal.stat().st_mode & 0o077 == 0
    with journal.open("a") as file:
        file.write('{"op_code": 5, "wor')
    assert run(tmp_path / "t", "--trials=3", f"--search={RATE}").code == 0
    assert len(scored) == 3
    journal.write_text("{}\n" + journal.read_text())
    ended = run(tmp_path / "t", "--trials=3", f"--search={RATE}")
    assert ended.code == 2 and "study.journal is damaged" in ended.err


def test_a_trial_without_all_its_values_gets_them(tmp_path, scored):
    both = f"--search={RATE};dropout=uniform(0,0.5)"
    assert run(tmp_path / "a", "--trials=3", both).code == 0
    whole, scored[:] = list(scored), []
    with pytest.raises(KeyError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial_study.optuna.Trial, "suggest_float", _killed)
        run(tmp_path / "b", "--trials=3", both)
    assert run(tmp_path / "b", "--trials=3", both).code == 0
    assert scored == whole


def _killed(*arguments, **named):
    raise KeyError("killed")


def test_values_that_are_impossible_together_end_one_trial(tmp_path, scored):
    search = "--search=client_optimizer=choice(sgd,adamw);client_momentum=choice(0,0.9)"
    ended = run(tmp_path / "t", "--trials=8", "--client_optimizer=sgd", search)
    assert ended.code in (0, 1)
    trials = trial_study.finished(trial_study.load(_search(tmp_path / "t")))
    refused = [trial for trial in trials if "refused: --client_momentum" in trial.failed]
    assert refused and len(trials) == 8


def _search(folder):
    return trial_study.Search(folder, (), "validation", False, True, False)


def test_a_private_search_says_its_price_before_and_after(tmp_path, scored):
    private = (
        *("--dp=gaussian", "--noise_multiplier=1", "--delta=0.01", "--num_clients=40"),
        *("--held_out_fraction=0.2", "--client_validation_fraction=0"),
    )
    ended = run(tmp_path / "t", *private, "--trials=4", f"--search={RATE}")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    price = [number for number, line in enumerate(lines) if "the best of a random number" in line]
    trial = next(number for number, line in enumerate(lines) if line.startswith("trial "))
    assert len(price) == 2 and price[0] < trial < price[1]
    found = read(tmp_path / "t")
    assert found["objective"] == "held_out_accuracy"
    assert found["privacy"]["guaranteed"] and found["privacy"]["best"] > found["privacy"]["one"]
    drawn = json.loads((tmp_path / "t" / "private" / "drawn.json").read_text())
    # The number is random and secret, and no trial ends early.
    assert len(found["trials"]) == len(scored) == drawn["trials"]
    assert f" of {drawn['trials']}:" not in ended.out
    flags = (tmp_path / "t" / "best.flags").read_text()
    assert "the best of a random number" in flags and f"{drawn['trials']} trials" not in flags
    assert not any(trial["pruned"] for trial in found["trials"])
    again = run(tmp_path / "t", *private, "--trials=8", f"--search={RATE}")
    assert again.code == 2 and "holds a search with other trials" in again.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--search: must be given, for example"),
        (("--search=rate=uniform(0,1)",), "there is no option rate"),
        ((f"--search={RATE}", "--client_validation_fraction=0"), "must be above 0, for example"),
        ((f"--search={RATE}", "--trials=0"), "--trials=0: must be 1 or more"),
        (("--search=dropout=uniform(0,2)",), "--dropout=2.0: must be at least 0 and below 1"),
        ((f"--search={RATE}", "--output_dir="), "--output_dir: must be given"),
        ((f"--search={RATE}", "--output_dir=/dev/null/x"), "cannot be used"),
        (
            (f"--search={RATE}", "--client_validation_fraction=0.00001"),
            "--objective=validation: there are no such texts",
        ),
        (
            (f"--search={RATE}", "--parallel_trials=2", "--context=ray"),
            # Where Ray is not installed, that is the reason.
            "--parallel_trials=2: ",
        ),
    ],
)
def test_mistakes(tmp_path, arguments, message):
    ended = run(tmp_path / "t", *arguments)
    assert ended.code == 2 and message in ended.err, ended.err
    assert not (tmp_path / "t").exists()


def test_a_missing_optuna_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning_config.importlib.util, "find_spec", lambda name: None)
    ended = run(tmp_path / "t", f"--search={RATE}")
    assert ended.code == 2 and "EXTRAS=tune scripts/setup adds it" in ended.err


def test_no_trial_with_a_score_is_an_error(tmp_path, scored):
    ended = run(tmp_path / "t", "--trials=2", "--search=client_learning_rate=choice(0.01,0.02)")
    assert ended.code == 1 and "no trial has a score; the first one: diverged" in ended.err


@pytest.mark.slow
def test_real_trials_train_in_turn_and_side_by_side(tmp_path):
    pytest.importorskip("ray")
    alone = run(tmp_path / "a", "--trials=3", f"--search={RATE}", "--prune=false")
    assert alone.code == 0, alone.err
    both = run(
        tmp_path / "b", "--trials=3", f"--search={RATE}", "--prune=false", "--parallel_trials=2"
    )
    assert both.code == 0, both.err
    one, other = read(tmp_path / "a"), read(tmp_path / "b")
    # The first values do not depend on scores.
    assert [t["values"] for t in one["trials"]] == [t["values"] for t in other["trials"]]
    assert one["best"] == other["best"]
    folder = trial_study.folder_of(tmp_path / "a", one["best"]["trial"])
    result = json.loads((folder / "result.json").read_text())
    assert one["best"]["validation"] == result["validation"]["accuracy"]
    assert tuning.FLAGS in alone.out
