"""A finished run read back: who trained, what nobody trained on, and the model's own outputs."""

import json
import shutil

import numpy as np
import pytest

from tff_nlp.errors import UserError
from tff_nlp.runs import configs, options, saved_run
from tff_nlp.tasks import classification_scores as evaluation


@pytest.fixture(scope="module")
def run(finished):
    return saved_run.load(finished.folder)


@pytest.fixture(scope="module")
def found(run):
    return saved_run.examples(run)


def test_the_configuration_is_the_recorded_one(finished):
    config = saved_run.configuration(finished.folder)
    assert config.rounds.rounds == 3 and config.clients.held_out_fraction == 0.2
    recorded = json.loads((finished.folder / "config.json").read_text())
    ours = options.record(*config.recorded())
    machine = options.record(configs.ExecutionConfig())
    assert all(recorded[name] == value for name, value in ours.items() if name not in machine)


@pytest.mark.thorough
def test_members_are_what_took_part(audited):
    """The cohorts drawn again are those whose data training asked for, canaries left out."""
    read = saved_run.load(audited.folder)
    found = saved_run.examples(read)
    # A secret draws the clients. In a few runs it draws all of them.
    assert audited.trained
    assert set(np.flatnonzero(found.drawn)) == audited.trained
    train = read.split.train
    expected = np.concatenate([train.client_rows(client) for client in sorted(audited.trained)])
    np.testing.assert_array_equal(np.sort(found.members), np.sort(expected))


def test_every_row_has_one_source(run, found):
    """Members, kept back, held out and never drawn make up the training corpus, each row once."""
    assert set(found.others) <= set(saved_run.SOURCES)
    assert {"test", "validation", "clients", "held_out"} <= set(found.others)
    of_train = [rows for source, rows in found.others.items() if source != saved_run.TEST]
    together = np.concatenate([found.members, *of_train])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(run.texts.train)))
    np.testing.assert_array_equal(found.others["test"], np.arange(len(run.texts.test)))
    assert set(found.client_ids) <= {f"author{n}" for n in range(12)}
    for row, client in zip(found.members, found.member_clients, strict=True):
        assert run.texts.train.authors[row] == found.client_ids[client]


@pytest.mark.slow
def test_texts_of_members_are_nobody_elses(tmp_path, run_train, reviews):
    """--keep_overlap leaves test texts in the training corpus: such a text is no other example."""
    lines = reviews.read_text().splitlines()
    test = tmp_path / "test.csv"
    test.write_text("\n".join([lines[0], *lines[1:6], "new text,good,author1"]) + "\n")
    flags = {"corpus": reviews, "test_corpus": test, "keep_overlap": True, "rounds": 1}
    flags |= {"clients_per_round": 12, "client_test_fraction": 0, "partition": "iid"}
    flags |= {"trainable": "head"}
    assert run_train(tmp_path / "run", **flags).code == 0
    read = saved_run.load(tmp_path / "run")
    others = saved_run.examples(read).others
    assert {
        source: [read.texts.test.texts[r] for r in rows] for source, rows in others.items()
    } == {"test": ["new text"]}


@pytest.mark.parametrize("which", ["finished", "finished_centrally"])
def test_outputs_are_those_of_the_final_model(which, request, cache):
    """The run's own scores come out again."""
    read = saved_run.load(request.getfixturevalue(which).folder)
    rows = np.arange(len(read.texts.test))
    nothing, logits = saved_run.outputs(read, str(cache), np.zeros(0, np.int64), rows)
    assert nothing.shape == (0, 2)
    scores = evaluation.score_logits(logits, read.texts.test.labels, None)
    assert scores.accuracy == read.result["test"]["accuracy"]
    assert scores.loss == pytest.approx(read.result["test"]["loss"], rel=1e-5)
    train = np.array([5, 3, 8])
    some, none = saved_run.outputs(read, str(cache), train, np.zeros(0, np.int64))
    turned, _ = saved_run.outputs(read, str(cache), train[::-1], np.zeros(0, np.int64))
    np.testing.assert_allclose(some, turned[::-1], atol=1e-5)
    assert none.shape == (0, 2)


def test_a_central_run_trained_on_everything(finished_centrally):
    found = saved_run.examples(saved_run.load(finished_centrally.folder))
    assert len(found.members) == 240
    assert (list(found.others), found.client_ids, len(found.drawn)) == (["test"], (), 0)


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished.folder, tmp_path / "copy")


def edit(path, **changes):
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **changes}))


def refusal(folder):
    with pytest.raises(UserError) as caught:
        saved_run.load(folder)
    message = str(caught.value)
    assert message.startswith(f"run={folder}: ")
    assert "\n" not in message
    return message


def test_a_run_that_keeps_no_model(copy):
    shutil.rmtree(copy / "model")
    with pytest.raises(UserError) as caught:
        saved_run.model_of(copy)
    assert str(caught.value) == f"run={copy}: has no model"


def test_what_is_no_finished_run(tmp_path, copy):
    assert "there is no such folder" in refusal(tmp_path / "missing")
    assert "not a run: config.json is missing" in refusal(copy / "model")
    (copy / "result.json").write_text("{")
    assert "result.json cannot be read" in refusal(copy)
    (copy / "result.json").unlink()
    assert "the run is not finished: result.json is missing" in refusal(copy)


@pytest.mark.parametrize(
    ("name", "changes", "part"),
    [
        ("result.json", {"test": {}}, "result.json is damaged"),
        ("result.json", {"test": None}, "result.json is damaged"),
        ("result.json", {"rounds": "three"}, "result.json is damaged"),
        ("result.json", {"rounds": 10**12}, "result.json is damaged"),
        ("result.json", {"fingerprints": []}, "result.json is damaged"),
        ("result.json", {"privacy": "none"}, "result.json is damaged"),
        ("config.json", {"seed": []}, "config.json is damaged at seed"),
        ("config.json", {"corpus": 5}, "config.json is damaged at corpus"),
        ("config.json", {"clients_per_round": True}, "config.json is damaged at clients_per_r"),
        ("config.json", {"sampling": "x"}, "config.json is damaged at sampling"),
        ("config.json", {"num_clients": 0}, "config.json is damaged: num_clients=0"),
        ("config.json", {"max_tokens": None}, "config.json is damaged at max_tokens"),
    ],
)
def test_damaged_values(copy, name, changes, part):
    edit(copy / name, **changes)
    assert part in refusal(copy)


@pytest.mark.parametrize("content", ["{}", "[]", "null", "3", '"x"', "[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_damaged_files(copy, name, content):
    (copy / name).write_text(content)
    refusal(copy)


def test_a_corpus_that_is_gone_or_changed(copy, tmp_path, reviews):
    moved = shutil.copy(reviews, tmp_path / "moved.csv")
    edit(copy / "config.json", corpus=str(moved))
    saved_run.load(copy)  # The same texts elsewhere are the same texts.
    moved.write_bytes(moved.read_bytes().replace(b"superb", b"poor", 1))
    assert "have changed since" in refusal(copy)
    moved.unlink()
    assert "its corpus cannot be loaded: corpus=" in refusal(copy)


def test_a_run_of_another_version(copy):
    edit(copy / "result.json", fingerprints={"partition": "other"})
    assert "private/partition belongs to another run" in refusal(copy)
    config = json.loads((copy / "config.json").read_text())
    del config["text_column"]
    (copy / "config.json").write_text(json.dumps(config))
    assert "another version of the program, without text_column" in refusal(copy)


def test_a_model_that_does_not_fit(copy, cache):
    rows = np.arange(3)

    def fault():
        with pytest.raises(UserError) as caught:
            saved_run.outputs(saved_run.load(copy), str(cache), rows, rows)
        return str(caught.value)

    edit(copy / "config.json", encoder_layers=2)
    assert "encoder=random has changed since" in fault()
    edit(copy / "config.json", encoder_layers=1, vocabulary_size=60)
    assert "the vocabulary of encoder=random has changed since" in fault()
    shutil.rmtree(copy / "model" / "variables")
    assert "not the model that result.json beside it describes" in fault()
    result = json.loads((copy / "result.json").read_text())
    del result["fingerprints"]["model"]
    edit(copy / "result.json", fingerprints=result["fingerprints"])
    assert "its exported model cannot be read" in fault()
