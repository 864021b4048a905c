"""A program that serves an exported model."""

import json
import os
import subprocess
import sys

import pytest

from tff_nlp.serving import saved_models


@pytest.fixture(scope="session")
def serve_in_fresh_process(tmp_path_factory):
    """Runs a model's serving code, then the predictor on examples, in a new process.

    Returns the last two lines: the output of the serving code, and the probabilities as JSON.
    """

    def serve(saved, examples):
        served = json.loads((saved / saved_models.INFO_FILE).read_text("utf-8"))["serving_code"]
        code = "\n".join(served) + (
            "\nimport sys, json; assert not [m for m in sys.modules if m.startswith('tff_nlp')];"
            "from tff_nlp.serving import predictor;"
            "p = predictor.load(sys.argv[1]).predict(json.load(open(sys.argv[2])));"
            "assert not {'keras_nlp', 'tensorflow_federated'} & set(sys.modules);"
            "print(json.dumps(p.probabilities.tolist()))"
        )
        file = tmp_path_factory.mktemp("examples") / "examples.json"
        file.write_text(json.dumps(examples))
        done = subprocess.run(
            [sys.executable, "-c", code, str(saved), str(file)],
            cwd=saved.parent,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
            capture_output=True,
            check=True,
            text=True,
        )
        return done.stdout.splitlines()[-2:]

    return serve
