"""The libraries print nothing when they start, in a script and in Python."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def start(program, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )


def test_the_package_silences_them_before_it_imports_any():
    program = (
        "import os, sys, tff_nlp; print(os.environ['TF_CPP_MIN_LOG_LEVEL'],"
        " 'tensorflow' in sys.modules)"
    )
    assert start(program).stdout == "3 False\n"
    assert start(program, TF_CPP_MIN_LOG_LEVEL="0").stdout == "0 False\n"


@pytest.mark.slow
def test_tensorflow_federated_starts_silently():
    done = start("from tff_nlp.execution import streaming")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
