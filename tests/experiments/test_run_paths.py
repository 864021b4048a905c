"""Where runs go without --output_dir; and the presets that the README's commands use."""

import pathlib

import pytest

from experiments import train
from experiments.flags import groups
from tests.experiments import conftest
from tff_nlp.runs import configs, options, run_paths

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRESETS = sorted((ROOT / "experiments" / "presets").glob("*.flags"))


def parsed(*arguments):
    train.FLAGS.unparse_flags()
    train.FLAGS(["train.py", *arguments])
    return [groups.parse(group, train.FLAGS) for group in train.GROUPS]


def folder(*arguments, texts="one"):
    groups = parsed(*arguments)
    unrecorded = (configs.PlaceConfig, configs.TrackingConfig, configs.CorpusConfig)
    recorded = [group for group in groups if not isinstance(group, unrecorded)]
    config = {**options.record(*recorded), "corpus (fingerprint)": texts}
    return run_paths.output_dir("", groups[0].corpus, config)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_are_valid_and_later_flags_win(preset):
    assert parsed(f"--flagfile={preset}")
    rounds = parsed(f"--flagfile={preset}", "--rounds=77")[train.GROUPS.index(configs.RoundsConfig)]
    assert rounds.rounds == 77


def test_the_demo_and_an_own_corpus_never_share_a_folder():
    demo = f"--flagfile={ROOT / 'experiments' / 'presets' / 'demo.flags'}"
    folders = [
        folder(demo),
        folder(demo, "--corpus=reviews.csv"),
        folder(demo, "--corpus=reviews.csv", texts="two"),
        folder(demo, "--corpus=reviews.csv", "--rounds=3"),
        folder(demo, "--corpus=reviews.csv", "--seed=1"),
    ]
    assert len(set(folders)) == len(folders)
    # Texts are the same wherever they lie.
    assert folder(demo, "--corpus=other/reviews.csv") == folders[1]
    assert [path.name.rpartition("-")[0] for path in folders[:2]] == ["synthetic", "reviews"]
    assert all(path.parent == pathlib.Path("runs") for path in folders)
    # Where things are kept says nothing about what the run is.
    assert folder(demo, "--cache_dir=elsewhere") == folders[0]


@pytest.mark.parametrize(
    ("corpus", "stem"),
    [
        ("a/b.review.csv", "b"),
        ("data/*.txt", "run"),
        ("a.csv,b.csv", "a"),
        ("glue/sst2", "sst2"),
        ("archive.zip/member.csv", "member"),
        ("../", "run"),
        ("外卖.csv", "外卖"),
    ],
)
def test_names_of_folders(corpus, stem):
    path = run_paths.output_dir("", corpus, {})
    assert path.parts[:-1] == ("runs",)
    assert path.name.rpartition("-")[0] == stem
    assert run_paths.output_dir("mine", corpus, {}) == pathlib.Path("mine")


@pytest.mark.slow
def test_an_own_corpus_with_one_flag_more(tmp_path, monkeypatch, reviews, run_train):
    """The columns are named text and label, and nothing else is said of them."""
    monkeypatch.chdir(tmp_path)
    ended = run_train(None, rounds=1)
    assert ended.code == 0
    assert "--text_column=text --label_column=label" in ended.out
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("reviews-")
    assert "finished" in run_train(None, rounds=1).out
    assert conftest.TINY["rounds"] != 1
