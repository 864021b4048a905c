"""--dp from the command line to result.json, kills and mistakes included."""

import csv
import json
import math
import shutil

import numpy as np
import pytest

from tests.experiments.conftest import Finished, copying
from tests.experiments.test_resume import check_same

# 24 clients, so that cohorts of four leave DP-FTRL's cycle some length; the head alone trains,
# which takes half as long to build. The run of test_canary_clients.py trains all weights.
PLAIN = {
    "num_clients": 24,
    "partition": "iid",
    "rounds": 3,
    "client_test_fraction": 0,
    "trainable": "head",
}
GAUSSIAN = {**PLAIN, "dp": "gaussian", "noise_multiplier": 0.8, "clipping_norm": 0.05}
TREE = {**GAUSSIAN, "dp": "tree_aggregation", "restart_every": 2}
ADAPTIVE = {**GAUSSIAN, "dp": "adaptive_clipping", "noise_multiplier": 0.3}
# What is private already may be rounded.
EXAMPLES = {**GAUSSIAN, "dp": "example_level", "upload_bits": 4}
DISTRIBUTED = {**GAUSSIAN, "dp": "distributed"}


def outputs(folder):
    result = json.loads((folder / "result.json").read_text())
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (folder / "privacy.jsonl").read_text().splitlines()]
    return result, rows, lines


@pytest.fixture(scope="module")
def private_run(tmp_path_factory, run_train):
    """Returns the finished run with flags; each is made once."""
    runs = {}

    def run(values):
        name = values["dp"]
        if name not in runs:
            folder = tmp_path_factory.mktemp(name)
            with copying(folder / "stopped"):
                ended = run_train(folder / "run", **values)
            assert ended.code == 0, ended.err
            runs[name] = Finished(folder / "run", ended, values, folder / "stopped")
        return runs[name]

    return run


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(GAUSSIAN, id="gaussian", marks=pytest.mark.slow),
        pytest.param(ADAPTIVE, id="adaptive_clipping", marks=pytest.mark.slow),
        pytest.param(TREE, id="tree_aggregation"),
        pytest.param(EXAMPLES, id="example_level"),
        pytest.param(DISTRIBUTED, id="distributed", marks=pytest.mark.slow),
    ],
)
def test_every_output_has_the_epsilon(private_run, values):
    run = private_run(values)
    result, rows, lines = outputs(run.folder)
    stated = result["privacy"]
    assert stated["mechanism"] == values["dp"] and stated["guaranteed"]
    assert [line["round"] for line in lines] == [1, 2, 3]
    epsilons = [float(row["epsilon_rdp"]) for row in rows]
    assert epsilons == sorted(epsilons) and 0 < epsilons[0] < math.inf
    assert epsilons[-1] == pytest.approx(stated["rdp"], rel=1e-6)
    assert stated["line"] in run.ended.out
    # One accountant, named in the progress lines and first in the last line.
    assert f"epsilon (rdp) {epsilons[-1]:.3f}" in run.ended.err
    assert stated["line"].startswith(f"epsilon {epsilons[-1]:.4f} (rdp)")
    if values["dp"] not in ("example_level", "distributed"):
        # A round may have no clients, because a secret draws them. Its result is only noise.
        signals = [(int(row["clients"]) > 0, float(row["signal_to_noise"]) > 0) for row in rows]
        assert all(anybody == signal for anybody, signal in signals)
        assert all(0 <= float(row["clipped_share"]) <= 1 for row in rows)
    if values is DISTRIBUTED:
        assert "against the server" in stated["line"]
        # No loss, no accuracy, no count leaves a client: none of them has noise.
        assert all(not value for row in rows for n, value in row.items() if "train" in n)
    if values is GAUSSIAN:
        assert float(rows[0]["clipping_norm"]) == pytest.approx(0.05)
        assert stated["sampling"] == "poisson"
    if values is TREE:
        assert stated["sampling"] == "bounded"


@pytest.mark.thorough
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(GAUSSIAN, id="gaussian", marks=pytest.mark.slow),
        pytest.param(TREE, id="tree_aggregation"),
        pytest.param(DISTRIBUTED, id="distributed", marks=pytest.mark.slow),
        pytest.param(EXAMPLES, id="example_level", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_has_the_same_noise_and_the_same_epsilon(
    tmp_path, private_run, run_train, values
):
    undisturbed = private_run(values)
    # The secret of the noise is in the copy, from which the rest of the run reads it back.
    folder = shutil.copytree(undisturbed.stopped, tmp_path / "run")
    assert run_train(folder, **values).code == 0
    check_same(folder, undisturbed.folder, values["rounds"])
    texts = [(path / "privacy.jsonl").read_text() for path in (folder, undisturbed.folder)]
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_the_noise_is_a_secret_of_the_run(tmp_path, run_train):
    """Whoever had the seed, 0 by default, had the noise: two runs of one seed were the same."""
    values = {**GAUSSIAN, "rounds": 1, "seed": 0}
    assert run_train(tmp_path / "one", **values, complete=True).code == 0
    assert run_train(tmp_path / "two", **values).code == 0
    models = [load_weights(tmp_path / name) for name in ("one", "two")]
    assert all(np.mean(a == b) < 0.5 for a, b in zip(*models, strict=True) if a.size > 100)
    private = tmp_path / "one" / "private"
    assert private.stat().st_mode & 0o777 == 0o700
    kept = private / "noise_secret"
    assert kept.stat().st_mode & 0o777 == 0o600
    secret = kept.read_text().strip()
    raw = bytes.fromhex(secret)
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file() and path != kept:
            assert secret.encode() not in path.read_bytes() and raw not in path.read_bytes()
    # Without it, rounds that are computed again would be released a second time.
    (tmp_path / "one" / "result.json").unlink()
    kept.unlink()
    ended = run_train(tmp_path / "one", **values)
    assert ended.code == 2 and "private/" in ended.err


@pytest.mark.slow
def test_repeatable_noise_claims_nothing(tmp_path, run_train):
    values = {**GAUSSIAN, "rounds": 1, "noise_seed": 3}
    for name in ("one", "two"):
        assert run_train(tmp_path / name, **values).code == 0
        assert not (tmp_path / name / "private" / "noise_secret").exists()
    models = [load_weights(tmp_path / name) for name in ("one", "two")]
    for a, b in zip(*models, strict=True):
        np.testing.assert_array_equal(a, b)
    result, rows, _ = outputs(tmp_path / "one")
    assert result["privacy"]["line"] == (
        "no guarantee: repeatable noise, for research only (--noise_seed=3)"
    )
    assert not result["privacy"]["guaranteed"] and {row["epsilon_rdp"] for row in rows} == {""}


def load_weights(folder):
    (path,) = (folder / "checkpoints").iterdir()
    with np.load(path) as file:
        leaves = [file[name] for name in sorted(file.files)]
    return [leaf for leaf in leaves if leaf.dtype == np.float32 and leaf.ndim]


@pytest.mark.thorough
def test_a_target_finds_the_noise(tmp_path, run_train):
    flags = {**GAUSSIAN, "noise_multiplier": None}
    ended = run_train(tmp_path / "run", **flags, target_epsilon=3.0)
    assert ended.code == 0, ended.err
    stated = outputs(tmp_path / "run")[0]["privacy"]
    assert 2.99 < stated["rdp"] <= 3.0
    assert stated["noise_multiplier"] > 0


@pytest.mark.slow
def test_a_target_ends_training(tmp_path, private_run, run_train):
    first = float(outputs(private_run(GAUSSIAN).folder)[1][0]["epsilon_rdp"])
    ended = run_train(tmp_path / "run", **GAUSSIAN, target_epsilon=first * 1.01)
    assert ended.code == 0, ended.err
    result, rows, _ = outputs(tmp_path / "run")
    assert result["rounds"] == len(rows) == 1
    assert "ends training after 1 of 3 rounds" in ended.out


@pytest.mark.thorough
def test_a_breach_of_the_contract_is_refused_or_costs_the_epsilon(tmp_path, run_train):
    refused = run_train(tmp_path / "run", **GAUSSIAN, sampling="fixed")
    assert refused.code == 2
    assert "--sampling=fixed" in refused.err and "--sampling=poisson" in refused.err
    assert not (tmp_path / "run").exists()
    allowed = run_train(
        tmp_path / "run",
        **GAUSSIAN,
        sampling="fixed",
        weighting="examples",
        allow_dp_mismatch=True,
    )
    assert allowed.code == 0, allowed.err
    result, rows, _ = outputs(tmp_path / "run")
    assert not result["privacy"]["guaranteed"]
    assert {result["privacy"][name] for name in ("rdp_classic", "rdp", "pld")} == {None}
    assert len(result["privacy"]["violations"]) == 2
    assert {row["epsilon_rdp"] for row in rows} == {""}
    assert (
        "no guarantee" in allowed.out
        and "epsilon" not in allowed.out.replace("no guarantee", "").split("round 3/3")[-1]
    )


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"noise_multiplier": None}, "--dp=gaussian"),
        ({"noise_multiplier": -1}, "--noise_multiplier=-1"),
        ({"noise_multiplier": "nan"}, "--noise_multiplier=nan"),
        ({"clipping_norm": 0}, "--clipping_norm=0"),
        ({"delta": 0}, "--delta=0"),
        ({"delta": 0.5}, "--delta=0.5"),
        ({"clients_per_round": 25}, "--clients_per_round=25"),
        ({"target_epsilon": 0}, "--target_epsilon=0"),
        ({"target_epsilon": 0.01}, "--target_epsilon=0.01"),
        ({"dp": "adaptive_clipping"}, "--noise_multiplier=0.8"),
        ({"dp": "adaptive_clipping", "target_quantile": 1}, "--target_quantile=1"),
        ({"target_quantile": 0.4}, "--target_quantile=0.4"),
        ({"restart_every": 3}, "--restart_every=3"),
        ({"dp": "tree_aggregation", "max_participations": 1, "rounds": 9}, "--max_participations"),
        ({"dp": "tree_aggregation", "min_separation": 9}, "--min_separation=9"),
        ({"dp": "tree_aggregation", "sampling": "poisson"}, "--sampling=poisson"),
        ({"dp": "distributed", "accountant": "pld"}, "--accountant=pld"),
        ({"dp": "none"}, "--noise_multiplier=0.8"),
        ({"dp": "much"}, "--dp"),
        ({"adjacency": "replace_one", "sampling": "poisson"}, "--adjacency=replace_one"),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(tmp_path, run_train, changes, flag):
    ended = run_train(tmp_path / "run", **{**GAUSSIAN, **changes})
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1 and flag in ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.thorough
def test_a_lost_record_of_what_happened_is_refused(tmp_path, private_run, run_train):
    folder = shutil.copytree(private_run(TREE).stopped, tmp_path / "run")
    (folder / "privacy.jsonl").write_text("")
    ended = run_train(folder, **TREE)
    assert ended.code == 2 and "privacy.jsonl" in ended.err
