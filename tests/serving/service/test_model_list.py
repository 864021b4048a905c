"""Names, versions and folders of the models to serve."""

import json

import pytest

from tff_nlp.errors import UserError
from tff_nlp.serving import model_fingerprint
from tff_nlp.serving.service import model_list


@pytest.fixture
def folder(tmp_path):
    def make(name):
        made = tmp_path / name
        (made / "model").mkdir(parents=True)
        (made / "model" / "saved_model.pb").write_text(name)
        return made

    return make


def test_names_and_versions(folder):
    a, b, c = map(folder, "abc")
    specs = model_list.parse([str(a), f"a={b}", f"a:7={c}", f"a={c}", f"pairs-2={b}/model"], "run")
    assert [str(spec) for spec in specs] == [
        "a version 1",
        "a version 2",
        "a version 7",
        "a version 8",
        "pairs-2 version 1",
    ]
    assert specs[0].folder == a / "model"
    assert specs[1].folder == specs[4].folder == b / "model"
    assert specs[0].fingerprint == model_fingerprint.of(a / "model")
    assert specs[0].fingerprint != specs[1].fingerprint


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        (["a:1={a}", "a:1={a}"], "version 1 of a is named twice"),
        (["a:0={a}"], "versions start at 1"),
        (["a b={a}"], "write NAME=FOLDER"),
        (["a=/nowhere"], "there is no such folder"),
        ([], "run is needed"),
    ],
)
def test_mistakes(folder, entries, reason):
    a = folder("a")
    with pytest.raises(UserError, match=reason):
        model_list.parse([entry.format(a=a) for entry in entries], "run")


def test_a_model_that_has_changed_since_its_run_is_refused(folder):
    run = folder("a")
    digest = model_fingerprint.of(run / "model")
    (run / "result.json").write_text(json.dumps({"fingerprints": {"model": digest}}))
    model_list.parse([str(run)], "run")
    (run / "model" / "saved_model.pb").write_text("")  # Truncated.
    with pytest.raises(UserError, match="it has changed since"):
        model_list.parse([str(run)], "run")


def test_a_language_model_is_refused(folder):
    run = folder("a")
    (run / "model" / "info.json").write_text('{"max_new_tokens": 5}')
    with pytest.raises(UserError, match="a language model continues texts"):
        model_list.parse([str(run)], "run")


def test_a_file_of_models(tmp_path):
    path = tmp_path / "models"
    path.write_text("# two\na=x\n\n  b:2=y  \n")
    assert model_list.read(path, "models") == ["a=x", "b:2=y"]
    for content, reason in ((b"# none\n", "names no model"), (b"\xff", "not UTF-8")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=reason):
            model_list.read(path, "models")
    with pytest.raises(UserError, match="No such file"):
        model_list.read(tmp_path / "other", "models")
