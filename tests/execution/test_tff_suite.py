"""TFF's own test suite under the streaming context.

    TFF_SOURCE=TREE scripts/test -m slow tests/execution/test_tff_suite.py

TREE is an unpacked source tree of TFF v0.87.0. Every file passes, except for the tests in
`DIFFERENT`; docs/execution.md explains them.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest

_PYTHON = "tensorflow_federated/python"
FOLDERS = (
    "aggregators",
    "analytics",
    "core/backends/mapreduce",
    "core/backends/native",
    "core/backends/test",
    "learning",
    "program",
    "simulation",
    "tests",
)

# Our errors have other classes than the errors of TFF's worker, which sends them over gRPC.
_OTHER_ERROR = "the error of a client is a ClientError"
_ABOUT_THE_WORKER = "the test is about TFF's worker process"
_ANYWHERE = "Keras cannot save the model with this wrapt, in TFF's own context neither"
DIFFERENT = {
    "analytics/heavy_hitters/iblt/iblt_factory_test.py": {
        "test_string_max_bytes_error": _OTHER_ERROR,
    },
    "core/backends/native/execution_contexts_test.py": {
        "test_process_starts": _ABOUT_THE_WORKER,
        "test_raises_runtime_error_if_no_worker_binarys": _ABOUT_THE_WORKER,
        "test_stub_going_down_restarts_process": _ABOUT_THE_WORKER,
    },
    "core/backends/test/execution_contexts_test.py": {
        "test_raises_with_arguments_over_max_value": _OTHER_ERROR,
    },
    "learning/models/serialization_test.py": {
        "test_convert_loaded_model_to_tff_model_within_tf_computation_keras_model": _ANYWHERE,
        "test_convert_loaded_model_to_tff_model_within_tf_computation_tf_function": _ANYWHERE,
        "test_initial_model_weights_before_after_save_keras_model": _ANYWHERE,
        "test_initial_model_weights_before_after_save_tf_function": _ANYWHERE,
        "test_save_and_load_functional_model_keras_model": _ANYWHERE,
        "test_save_and_load_functional_model_tf_function": _ANYWHERE,
        "test_save_functional_model_keras_model": _ANYWHERE,
        "test_save_functional_model_tf_function": _ANYWHERE,
        "test_save_load_convert_to_tff_model_keras_model": _ANYWHERE,
        "test_save_load_convert_to_tff_model_tf_function": _ANYWHERE,
        "test_save_too_large_functional_model_fails": _ANYWHERE,
    },
}

_RUNNER = pathlib.Path(__file__).with_name("tff_suite.py")
_SETS_A_CONTEXT = re.compile(r"(set|create)_sync_\w+_context|with_contexts?\(")


def _tree():
    return pathlib.Path(os.environ.get("TFF_SOURCE", ""))


def _files():
    """Returns the files whose tests run in a context."""
    if "TFF_SOURCE" not in os.environ:
        return []
    folders = [_tree() / _PYTHON / folder for folder in FOLDERS] + [_tree() / "examples"]
    files = sorted(f for folder in folders for f in folder.rglob("*_test.py"))
    return [str(f.relative_to(_tree())) for f in files if _SETS_A_CONTEXT.search(f.read_text())]


@pytest.mark.slow
@pytest.mark.parametrize("file", _files() or [None])
def test_it_passes(file):
    if file is None:
        pytest.skip("TFF_SOURCE names no source tree of TFF v0.87.0")
    run = subprocess.run(
        [sys.executable, str(_RUNNER), str(_tree()), file],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    failed = set(re.findall(r"^(?:ERROR|FAIL): (\w+)", run.stdout, re.MULTILINE))
    expected = set(DIFFERENT.get(file.removeprefix(f"{_PYTHON}/"), {}))
    assert re.search(r"^Ran [1-9]\d* tests? in", run.stdout, re.MULTILINE), run.stdout[-5000:]
    assert failed == expected, run.stdout[-5000:]
