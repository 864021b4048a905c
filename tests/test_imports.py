"""The import directions hold, and the checker finds violations."""

import pathlib

import pytest

from tests import import_directions

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_no_room_has_a_forbidden_import():
    assert import_directions.package_violations(ROOT) == []


def test_scripts_benchmarks_and_tests_import_what_they_may():
    assert import_directions.outside_violations(ROOT) == []


def test_no_files_import_each_other_in_a_circle():
    assert import_directions.circles(ROOT) == []


def test_a_circle_is_found_in_functions_too(tmp_path):
    for name, code in (
        ("a", "from tff_nlp.runs import b\n"),
        ("b", "def f():\n    from tff_nlp.runs.c import g\n"),
        ("c", "import tff_nlp.runs.a\n"),
        ("d", "from tff_nlp.runs import a\n"),
    ):
        path = tmp_path / "tff_nlp" / "runs" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    assert import_directions.circles(tmp_path) == [[f"tff_nlp.runs.{n}" for n in "abc"]]


def test_file_names_are_specific_and_files_are_short():
    assert import_directions.naming_violations(ROOT) == []


def test_every_room_exists():
    for room in import_directions.ROOMS:
        assert (ROOT / "tff_nlp" / room / "__init__.py").is_file(), room


@pytest.fixture
def check(tmp_path):
    """Returns the violations of a made-up tree of one file."""

    def check_one(path, code):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
        return import_directions.package_violations(tmp_path)

    return check_one


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (
            "corpora/files.py",
            "import gzip\nimport numpy\nfrom tff_nlp.corpora import corpus\n",
        ),
        ("corpora/names.py", "def load():\n    import tensorflow_datasets as tfds\n"),
        ("clients/client_data.py", "import tensorflow_federated as tff\n"),
        ("clients/partition.py", "from tff_nlp.corpora.corpus import Corpus\n"),
        ("models/heads.py", "import tensorflow as tf\nimport keras_nlp\n"),
        ("privacy/accounting.py", "import dp_accounting\nfrom tff_nlp import errors, seeds\n"),
        ("learning/algorithms.py", "from ..tasks import task\nfrom . import optimizers\n"),
        ("versions.py", "import importlib.metadata\nfrom tff_nlp import errors\n"),
    ],
)
def test_allowed(check, path, code):
    assert check(f"tff_nlp/{path}", code) == []


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("corpora/names.py", "import tensorflow_datasets\n", "only inside the function"),
        ("corpora/files.py", "import pandas\n", "corpora may not import pandas"),
        ("corpora/files.py", "from tff_nlp.clients import partition\n", "may not import clients"),
        ("clients/token_cache.py", "import tensorflow as tf\n", "may not import tensorflow"),
        ("clients/cohorts.py", "def f():\n    import tensorflow\n", "may not import tensorflow"),
        ("clients/cohorts.py", "from tff_nlp.models import tokenizer\n", "may not import models"),
        ("models/heads.py", "import tensorflow_federated as tff\n", "tensorflow_federated"),
        ("models/heads.py", "import tensorflow_federated.learning\n", "tensorflow_federated"),
        ("aggregation/mean.py", "from tff_nlp.models import encoders\n", "may not import models"),
        ("privacy/audit.py", "import tff_nlp.clients.cohorts\n", "may not import clients"),
        ("privacy/audit.py", "from ..clients import cohorts\n", "may not import clients"),
        ("privacy/audit.py", "from .. import clients\n", "may not import clients"),
        ("learning/work.py", "from tff_nlp import corpora\n", "may not import corpora"),
        ("execution/worker.py", "from tff_nlp.learning import work\n", "may not import learning"),
        ("program/loop.py", "from tff_nlp.models import heads\n", "may not import models"),
        ("serving/export.py", "from experiments import flags\n", "never imports experiments"),
        ("program/loop.py", "from absl import flags\n", "only experiments own flags"),
        ("program/loop.py", "import argparse\n", "only experiments own flags"),
        ("program/loop.py", "import sys\nx = sys.argv[1]\n", "read the command line"),
        ("program/loop.py", "from sys import argv\n", "read the command line"),
        ("models/heads.py", "from tff_nlp import versions\n", "errors, printable, seeds"),
        ("errors.py", "from tff_nlp.models import heads\n", "beside the rooms imports models"),
        ("plots/curves.py", "", "no room of the design"),
    ],
)
def test_refused(check, path, code, reason):
    violations = check(f"tff_nlp/{path}", code)
    assert len(violations) == 1
    assert violations[0].startswith(f"tff_nlp/{path}:")
    assert reason in violations[0]


@pytest.mark.parametrize(
    ("path", "lines", "reason"),
    [
        ("tff_nlp/models/utils.py", 1, "does not say"),
        ("tff_nlp/models/text_utils.py", 1, "does not say"),
        ("experiments/common/flags.py", 1, "does not say"),
        ("tests/helpers.py", 1, "does not say"),
        ("experiments/train.py", import_directions.MAX_LINES + 1, "more than 450"),
    ],
)
def test_vague_names_and_long_files_are_refused(tmp_path, path, lines, reason):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text("pass\n" * lines)
    violations = import_directions.naming_violations(tmp_path)
    assert len(violations) == 1
    assert reason in violations[0]


def test_a_long_file_within_the_bound_passes(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "bench.py").write_text("pass\n" * import_directions.MAX_LINES)
    assert import_directions.naming_violations(tmp_path) == []
