"""scripts/benchmark_secure_aggregation as a user calls it."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
from absl.testing import flagsaver

from benchmarks import secure_aggregation as benchmark
from experiments.command_line import entry

SCRIPT = pathlib.Path(benchmark.__file__).parents[1] / "scripts" / "benchmark_secure_aggregation"


@pytest.fixture
def call(capsys):
    """Returns (exit code, stdout, stderr) of a call with arguments."""

    def call_with(*arguments):
        saved = flagsaver.save_flag_values(benchmark.FLAGS)
        try:
            code = entry.status(benchmark.main, benchmark.FLAGS, ["benchmark", *arguments])
        finally:
            flagsaver.restore_flag_values(saved, benchmark.FLAGS)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call_with


def test_rows_and_json(call, tmp_path):
    file = tmp_path / "costs.json"
    code, out, err = call(
        "--clients=5,8", "--entries=1000", "--dropout=0,0.2", "--modulus=65536", f"--json={file}"
    )
    assert code == 0, err
    assert len(out.splitlines()) == 2 + 4
    rows = json.loads(file.read_text())
    assert [(r["clients"], r["dropped"], r["threshold"]) for r in rows] == [
        (5, 0, 4),
        (5, 1, 4),
        (8, 0, 6),
        (8, 1, 6),
    ]
    for row in rows:
        assert row["plain_client_bytes_up"] == 2 * 1000
        # Five messages with header and signature, keys, a commitment and a share for each peer, a
        # digest, counts, and a share for each client.
        others = row["clients"] - 1
        fixed = 5 * 118 + 64 + 32 + 32 + 4 + 8
        assert row["client_bytes_up"] == 2000 + fixed + 100 * others + 40 * row["clients"]
        assert row["client_seconds"] > row["plain_client_seconds"] > 0
        assert row["server_seconds"] > row["plain_server_seconds"] > 0
        assert row["client_seconds"] == pytest.approx(sum(row["client_seconds_by_step"].values()))
        assert row["server_seconds"] == pytest.approx(sum(row["server_seconds_by_step"].values()))


def test_encrypted_sums_beside_masked_ones(call, tmp_path):
    file = tmp_path / "costs.json"
    code, out, err = call(
        "--clients=5", "--entries=5000", "--dropout=0", "--ckks", f"--json={file}"
    )
    assert code == 0, err
    assert "ckks: client s" in out
    (row,) = json.loads(file.read_text())
    # Two ciphertexts of 4,096 numbers.
    assert row["ckks_client_bytes_up"] == 2 * 262_292
    assert min(row[f"ckks_{who}_seconds"] for who in ("client", "server", "holder")) > 0


def test_the_sums_are_compared(call, monkeypatch):
    monkeypatch.setattr(benchmark.PlainSum, "sum", lambda _: np.zeros(10, np.uint32))
    code, _, err = call("--clients=5", "--entries=10", "--dropout=0")
    assert code == 1
    assert "the secure sum is not the plain sum" in err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--clients=3,x", "--clients=3,x: must be numbers"),
        ("--clients=1", "secure aggregation: needs at least 2 clients, here are 1"),
        ("--clients=4", "secure aggregation: a client demands 5 to 16384 clients"),
        ("--clients=-4", "--clients=-4: must be numbers from 1"),
        ("--entries=0", "--entries=0: must be numbers from 1"),
        ("--dropout=0.5", "--dropout=0.5: 5 of 10 clients would be left, the threshold is 7"),
        ("--dropout=-1", "--dropout=-1: must be numbers from 0"),
        ("--dropout=nan", "--dropout=nan: must be numbers from 0"),
        ("--dropout=inf", "--dropout=inf: must be numbers from 0"),
        ("--modulus=1", "modulus 1"),
        ("--secure_aggregation_threshold=11", "=11: is not from 1 to 10"),
        ("--secure_aggregation_threshold=6", "=6: must be at least 7 of 10 clients"),
        ("--json=/nowhere/at/all.json", "--json=/nowhere/at/all.json: there is no folder"),
    ],
)
def test_bad_flags_are_one_line(call, argument, message):
    code, out, err = call(argument)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


def test_the_script_exists():
    assert os.access(SCRIPT, os.X_OK)
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
