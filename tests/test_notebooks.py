"""The notebooks run with tiny parameters, and hold the outputs of an execution as they should."""

import ast
import contextlib
import importlib.util
import io
import json
import pathlib
import re
import sys

import nbformat
import pytest
import tensorflow_federated as tff

from tff_nlp.execution import streaming

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"

TINY = {
    "encoder": "random",
    "encoder_layers": 1,
    "encoder_width": 16,
    "encoder_heads": 1,
    "vocabulary_size": 300,
    "max_tokens": 12,
}
# The parameters of a tiny execution.
PARAMETERS = {
    "first_classifier": {
        "CSV": "",
        "TEXT_COLUMN": "review",
        "LABEL_COLUMN": "opinion",
        "MADE_UP_REVIEWS": 480,
        "MODEL": TINY,
        "NUM_CLIENTS": 4,
        "CLIENTS_PER_ROUND": 2,
        "LOCAL_EPOCHS": 1,
        "LEARNING_RATE": 1e-3,
        "ROUNDS": 2,
        "FOLDER": "made",
    },
    "non_iid": {
        "REVIEWS": 480,
        "MODEL": TINY,
        "NUM_CLIENTS": 4,
        "CLIENTS_PER_ROUND": 2,
        "ALPHA": 0.1,
        "LEARNING_RATE": 0.1,
        "LOCAL_EPOCHS": 1,
        "MORE_LOCAL_EPOCHS": 2,
        "PROXIMAL_STRENGTH": 0.1,
        "ROUNDS": 2,
        "FOLDER": "made",
    },
    "privacy": {
        "REVIEWS": 480,
        "MODEL": {**TINY, "dropout": 0.0},
        "NUM_CLIENTS": 40,
        "CLIENTS_PER_ROUND": 10,
        "BATCH_SIZE": 8,
        "LEARNING_RATE": 1e-3,
        "SERVER_MOMENTUM": 0.5,
        "CLIPPING_NORM": 1.0,
        "DELTA": 1e-3,
        "EPSILONS": [4.0],
        "AUDITED_EPSILON": 4.0,
        "CANARIES": 10,
        "ROUNDS": 2,
        "FOLDER": "made",
    },
    "lora_and_language_model": {
        "REVIEWS": 480,
        "AUTHORS": 10,
        "ENCODER": TINY,
        "LORA_RANK": 2,
        "NUM_CLIENTS": 4,
        "CLIENTS_PER_ROUND": 2,
        "LOCAL_STEPS": 1,
        "BATCH_SIZE": 8,
        "LEARNING_RATE": 1e-3,
        "ROUNDS": 2,
        "LANGUAGE_MODEL": {**TINY, "max_tokens": 32, "dropout": 0.0},
        "AUTHORS_PER_ROUND": 2,
        "AUTHORS_LEARNING_RATE": 1e-3,
        "AUTHORS_BATCH_SIZE": 8,
        "AUTHORS_ROUNDS": 2,
        "FOLDER": "made",
    },
    "own_algorithm": {
        "REVIEWS": 480,
        "MODEL": TINY,
        "NUM_CLIENTS": 4,
        "CLIENTS_PER_ROUND": 2,
        "LOCAL_EPOCHS": 1,
        "LEARNING_RATE": 1e-3,
        "SIGN_LEARNING_RATE": 1e-3,
        "SERVER_STEP": 1.0,
        "ROUNDS": 2,
        "FOLDER": "made",
    },
}
NAMES = sorted(PARAMETERS)
# What the outputs of a notebook say, whatever its parameters are, and the number of its pictures.
SAYS = {
    "first_classifier": [
        r"accuracy",
        r"(negative|neutral|positive) +\d+\.\d%  \w",
        r"\[b'(negative|neutral|positive)'",
    ],
    "non_iid": [r"alike, fed_avg +\d+\.\d% of", r"skewed, logit adjustment +\d+\.\d% of"],
    "privacy": [
        r"no privacy: \d+\.\d% of",
        r"epsilon \d+\.\d+ \(rdp\), \d+\.\d+ \(pld\) at delta [\d.e-]+ for one client of",
        r"\d+\.\d+ <= epsilon <= \d+\.\d+",
    ],
    "lora_and_language_model": [
        r"LoRA sends \d+ times fewer bytes up",
        r"test perplexity \d+\.\d; guessing by frequency \d+\.\d",
        r"The battery \.\.\. ",
    ],
    "own_algorithm": [
        r"fed_avg +\d+\.\d% of",
        r"signed_directions +\d+\.\d% of",
        r"length of the mean direction: [01]\.\d+ to [01]\.\d+",
    ],
}
PICTURES = {
    "first_classifier": 3,
    "non_iid": 3,
    "privacy": 1,
    "lora_and_language_model": 2,
    "own_algorithm": 1,
}


def by_path(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parameters_of(notebook):
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    return cell


def as_code(values):
    return "\n".join(f"{name} = {value!r}" for name, value in values.items())


def printed(notebook):
    return "".join(
        output.text
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream"
    )


def pictures(notebook):
    return [
        output.data["image/png"]
        for cell in code_cells(notebook)
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]


def check_outputs(name, notebook):
    for pattern in SAYS[name]:
        assert re.search(pattern, printed(notebook)), (pattern, printed(notebook))
    assert len(pictures(notebook)) == PICTURES[name]


def test_these_are_all_notebooks():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_notebook_holds_the_outputs_of_one_execution(name):
    notebook = read(name)
    nbformat.validate(notebook)
    check_outputs(name, notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


PATH = re.compile(r"(?<![\w.:/])/(?:root|home|Users|work|tmp|usr|opt|content|var|mnt)\b")


@pytest.mark.parametrize("name", NAMES)
def test_its_outputs_are_short_and_clean(name):
    outputs = [output for cell in code_cells(read(name)) for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    texts = [o.text if o.output_type == "stream" else json.dumps(o.data) for o in outputs]
    for text in texts:
        without_pictures = re.sub(r'"image/png": "[^"]*"', "", text)
        assert not PATH.search(without_pictures)
        assert "\r" not in without_pictures and "Warning" not in without_pictures
        assert text.count("\n") < 40
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 500_000


def test_an_absolute_path_would_be_found():
    assert PATH.search("saved /ho" + "me/me/model") and not PATH.search("https://x.org/home/a")


@pytest.mark.parametrize("name", NAMES)
def test_its_parameters_are_one_tagged_cell_that_a_test_can_replace(name):
    cell = parameters_of(read(name))
    names = [
        target.id
        for statement in ast.parse(cell.source).body
        for assigned in statement.targets
        for target in (assigned.elts if isinstance(assigned, ast.Tuple) else [assigned])
    ]
    assert set(names) == set(PARAMETERS[name])


def test_all_begin_with_the_same_check_of_the_python():
    firsts = {code_cells(read(name))[0].source for name in NAMES}
    assert len(firsts) == 1
    assert "project_python.use(root)" in firsts.pop()


@pytest.mark.parametrize("name", NAMES)
def test_its_links_lead_somewhere(name):
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#:]+)\)", cell.source):
                assert (FOLDER / target).exists(), target


def test_the_cells_of_a_notebook_run(tmp_path, monkeypatch):
    """In this process, because a kernel would import TensorFlow once more; without the last cell.

    A kernel runs all cells of all notebooks in a slow test.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny = PARAMETERS["first_classifier"]
    notebook = read("first_classifier")
    parameters_of(notebook).source = as_code({**tiny, "MODEL": {**TINY, "trainable": "head"}})
    *cells, last = code_cells(notebook)
    assert "trained.export" in last.source
    given, said = {}, io.StringIO()
    context = streaming.StreamingContext(["/CPU:0"] * 2)
    with tff.framework.get_context_stack().install(context), contextlib.redirect_stdout(said):
        for cell in cells:
            exec(compile(cell.source, "cell", "exec"), given)
    for pattern in SAYS["first_classifier"][:-1]:
        assert re.search(pattern, said.getvalue()), pattern
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert made == {"reviews.csv", "clients.png", "curves.png", "confusion.png"}
    assert (tmp_path / "made" / "reviews.csv").read_text().startswith("review,opinion\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_executes_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    executed = by_path("execute").execute(
        FOLDER / f"{name}.ipynb", tmp_path, as_code(PARAMETERS[name])
    )
    check_outputs(name, executed)
    assert not [o for c in code_cells(executed) for o in c.outputs if o.get("name") == "stderr"]


@pytest.fixture
def other_kernel(tmp_path, monkeypatch):
    """Registers a kernel whose Python does not find TFF, and returns its name."""
    launch = (
        "import sys; sys.modules['tensorflow_federated'] = None; "
        "from ipykernel import kernelapp; kernelapp.launch_new_instance()"
    )
    folder = tmp_path / "jupyter" / "kernels" / "other"
    folder.mkdir(parents=True)
    spec = {
        "argv": [sys.executable, "-c", launch, "-f", "{connection_file}"],
        "display_name": "other",
        "language": "python",
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    return "other"


@pytest.fixture
def project(tmp_path):
    """A folder like the project's, with a setup that notes its call and the Python of this test."""
    root = tmp_path / "project"
    for path, text in (
        ("scripts/setup", '#!/usr/bin/env bash\necho "$EXTRAS" >> "$(dirname "$0")/../calls"\n'),
        (".venv/bin/python", f'#!/usr/bin/env bash\nexec {sys.executable} "$@"\n'),
        ("notebooks/project_python.py", (FOLDER / "project_python.py").read_text()),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        (root / path).chmod(0o755)
    return root


def notebook_of(tmp_path, *cells):
    """Writes a notebook with the first cell of all notebooks and some others."""
    sources = [code_cells(read("first_classifier"))[0].source, *cells]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    path = tmp_path / "made_up.ipynb"
    nbformat.write(notebook, path)
    return path


FINDS_TFF = "import importlib.util as u; print(u.find_spec('tensorflow_federated') is not None)"


def test_another_kernel_sends_its_cells_to_the_projects_python(tmp_path, other_kernel, project):
    path = notebook_of(
        tmp_path,
        FINDS_TFF,
        "a = 20\nprint('out')\nimport sys\nprint('err', file=sys.stderr)\na + 1",
        "%%capture kept\nprint(a)",
        "kept.stdout.strip() == '20', '%d' % a",
        "from IPython.display import HTML\nHTML('<b>shown</b>')",
    )
    executed = by_path("execute").execute(path, project / "notebooks", kernel=other_kernel)
    first, found, mixed, captured, kept, shown = (c.outputs for c in executed.cells)
    assert first[-1].text.endswith("The following cells run in the project's own Python.\n")
    assert found[0].text == "True\n"
    assert [o.get("text") or o.data["text/plain"] for o in mixed] == ["out\n", "err\n", "21"]
    assert captured == []
    assert kept[0].data["text/plain"] == "(True, '20')"
    assert shown[0].data["text/html"] == "<b>shown</b>"
    assert (project / "calls").read_text() == "notebooks\n"


def test_an_error_there_is_an_error_here(tmp_path, other_kernel, project):
    path = notebook_of(tmp_path, "x = 1\nx / 0", "print('not reached')")
    execute = by_path("execute")
    with pytest.raises(execute.nbclient.exceptions.CellExecutionError, match="ZeroDivisionError"):
        execute.execute(path, project / "notebooks", kernel=other_kernel)


def test_a_setup_that_fails_says_why(tmp_path, other_kernel, project):
    (project / "scripts" / "setup").write_text("#!/usr/bin/env bash\necho no disk >&2\nexit 2\n")
    execute = by_path("execute")
    with pytest.raises(execute.nbclient.exceptions.CellExecutionError, match="no disk"):
        execute.execute(notebook_of(tmp_path), project / "notebooks", kernel=other_kernel)
