"""Tables of made-up papers: numbers, orders, what is computed again, and the page."""

import dataclasses
import hashlib
import json
import pathlib

import pytest

from tff_nlp import errors
from tff_nlp.runs import cells as runs
from tff_nlp.runs import configs, inversion, pages, paper, reproduction, reproduction_page

SCALE = paper.Scale((paper.Change("encoder", "minilm", "no hub"),), (0, 1), "minutes")
TRAINED = paper.Paper(
    title="A paper",
    citation="Someone 2020.",
    source="table 1",
    settings={"encoder": "bert"},
    tables=(
        paper.Table(
            "Table 1",
            "method",
            "clients",
            "%",
            [
                paper.Cell(row, column, published, {"rounds": rounds})
                for rounds, (row, column, published) in enumerate(
                    [("a", "1", 80.0), ("b", "1", 70.0), ("c", "1", None), ("a", "2", 60.0)], 1
                )
            ],
            higher=((("c", "1"), ("b", "1")),),
        ),
    ),
    scales={"small": SCALE, "smoke": SCALE},
)


def exact(ours, **settings):
    cell = paper.Cell("epsilon", "1", 2.5, compute=lambda: ours)
    table = paper.Table("T", "r", "c", "epsilon", (cell,), digits=1, exact=True)
    return paper.Paper("P", "C", "S", (table,), **settings)


@pytest.fixture
def trainer(monkeypatch):
    """Replaces training by scores that depend on rounds and seed, and returns what was trained."""
    trained = []

    def train(config, **options):
        trained.append((config.rounds.rounds, config.rounds.seed))
        rounds, seed = trained[-1]
        if rounds == 3:
            return {"diverged": "round 1: NaN"}, {}
        return {}, {"test": {"accuracy": {1: 0.7, 2: 0.8, 4: 0.5}[rounds] + 0.01 * seed}}

    monkeypatch.setattr(runs, "train", train)
    return trained


def run(folder, published=TRAINED, **arguments):
    return reproduction.reproduce(
        "a2020", published, "small", data_dir=folder, output_dir=folder / "out", **arguments
    )


def test_exact_numbers_are_compared_to_the_printed_digit(tmp_path):
    good = reproduction_page.verdict(run(tmp_path, exact(2.54)))
    assert good == ["All 1 exact numbers equal the published ones to the printed digit."]
    bad = reproduction_page.verdict(run(tmp_path, exact(2.56)))
    assert bad == ["1 of 1 exact numbers differ: epsilon, 1."]


def test_numbers_spread_and_orders(tmp_path, trainer):
    found = run(tmp_path)
    # A whole table with one seed comes before the second seed.
    assert trainer == [(1, 0), (2, 0), (3, 0), (4, 0), (1, 1), (2, 1), (3, 1), (4, 1)]
    a, b, c, _ = found["tables"][0]["cells"]
    assert a["ours"] == pytest.approx(70.5) and a["difference"] == pytest.approx(-9.5)
    assert a["standard_deviation"] == pytest.approx(0.5**0.5) and a["seeds"] == [0, 1]
    assert c["ours"] is None and c["failed"] == ["diverged: round 1: NaN"] * 2
    # Cells of different columns are not compared, and c has no number.
    [order] = found["tables"][0]["orders"]
    assert (order["higher"], order["lower"]) == (["a", "1"], ["b", "1"])
    assert not order["holds"] and order["clear"] and order["ours"] == pytest.approx(-10)
    verdict = reproduction_page.verdict(found)
    assert verdict[0].startswith("The published order does not come out in 1 of 1 comparisons, 1 ")
    assert verdict[1] == "Table 1: ours are -9.5 to +10.5 from the 3 published numbers."
    page = (tmp_path / "out" / "reproduction.md").read_text()
    assert page.index("does not come out") < page.index("Table 1")
    assert "70.5 ± 0.7 (80.0)" in page and "diverged" in page
    assert "| encoder | bert | minilm | no hub | everywhere |" in page
    assert (tmp_path / "out" / "table_1.png").stat().st_size > 10_000
    assert b["published"] == 70.0


def test_no_number_is_computed_twice(tmp_path, trainer):
    first = run(tmp_path, chosen="*a, 1")
    assert trainer == [(1, 0), (1, 1)]
    run(tmp_path, chosen="*a, 1;*b, 1")
    assert trainer[2:] == [(2, 0), (2, 1)]
    again = run(tmp_path, chosen="*a, 1")
    assert len(trainer) == 4
    assert again["tables"][0]["cells"][0] == first["tables"][0]["cells"][0]
    assert reproduction_page.verdict(first)[-1] == "3 cells have no number yet."
    # Another setting is another number.
    [table] = TRAINED.tables
    changed = dataclasses.replace(table.cells[0], settings={"rounds": 1, "batch_size": 8})
    other = dataclasses.replace(
        TRAINED, tables=(dataclasses.replace(table, cells=(changed,), higher=()),)
    )
    run(tmp_path, other, chosen="*a, 1")
    assert len(trainer) == 6


def test_cells_of_one_run_share_it(tmp_path, trainer):
    [table] = TRAINED.tables
    twin = dataclasses.replace(table.cells[0], column="twice", value=lambda result: 1.0)
    both = dataclasses.replace(table, cells=(table.cells[0], twin), higher=())
    found = run(tmp_path, dataclasses.replace(TRAINED, tables=(both,)))
    assert trainer == [(1, 0), (1, 1)]
    assert [cell["ours"] for cell in found["tables"][0]["cells"]] == [pytest.approx(70.5), 1.0]


def test_a_killed_reproduction_goes_on(tmp_path, trainer, monkeypatch):
    def killed(config, **options):
        raise KeyboardInterrupt

    run(tmp_path, chosen="*a, 1")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    run(tmp_path)
    assert sorted(trainer) == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1), (4, 0), (4, 1)]


READING = dataclasses.replace(
    TRAINED,
    settings={**TRAINED.settings, "corpus": "texts.csv"},
    files=(paper.File("texts.csv", "https://example.org/texts.csv"),),
)


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("one\n")
    return path


def text_of_page(folder):
    return (folder / "out" / "reproduction.md").read_text()


def test_a_result_knows_its_files(tmp_path, trainer, texts):
    digest = hashlib.sha256(b"one\n").hexdigest()
    run(tmp_path, READING, chosen="*a, 1")
    for path in (tmp_path / "out" / "results").iterdir():
        assert json.loads(path.read_text())["files"] == {"texts.csv": digest}
    assert f"SHA-256: texts.csv ({digest[:16]})." in text_of_page(tmp_path)
    assert "not known" not in text_of_page(tmp_path)
    # The same file in another folder is the same file.
    (tmp_path / "new").mkdir()
    texts.rename(tmp_path / "new" / "texts.csv")
    out = tmp_path / "out"
    reproduction.reproduce("a2020", READING, "small", data_dir=tmp_path / "new", output_dir=out)
    assert len(trainer) == 8


def test_a_folder_with_results_of_another_file_is_refused(tmp_path, trainer, texts):
    run(tmp_path, READING, chosen="*a, 1")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    texts.write_text("two\n")
    for chosen in ("*a, 1", "*b, 1"):
        with pytest.raises(errors.UserError) as refused:
            run(tmp_path, READING, chosen=chosen)
        assert refused.value.with_flags() == (
            f"--data_dir={tmp_path}: texts.csv is not what the results in {tmp_path / 'out'} were "
            "computed from; bring that back, or use a new --output_dir"
        )
    assert len(trainer) == 2
    after = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert after == before


def test_a_file_that_changes_meanwhile_gives_no_result(tmp_path, trainer, texts, monkeypatch):
    train = runs.train

    def change(config, **options):
        texts.write_text("another\n")
        return train(config, **options)

    monkeypatch.setattr(runs, "train", change)
    with pytest.raises(errors.UserError, match="texts.csv is not what the results"):
        run(tmp_path, READING)
    assert len(trainer) == 1 and not list((tmp_path / "out" / "results").iterdir())


def test_results_that_do_not_know_their_files_stay(tmp_path, trainer, texts):
    run(tmp_path, READING, chosen="*a, 1")
    one, _ = (tmp_path / "out" / "results").iterdir()
    old = json.loads(one.read_text())
    del old["files"]
    one.write_text(json.dumps(old))
    found = run(tmp_path, READING, chosen="*a, 1")
    assert len(trainer) == 2
    assert "It is not known which files 1 of 2 results come from." in text_of_page(tmp_path)
    # Also a page without any record of files can be written.
    del found["files"]
    said = pages.to_markdown(reproduction_page.blocks(found, [None]))
    assert "It is not known which files the results come from." in said


def test_the_date_is_that_of_the_last_result(tmp_path, trainer):
    run(tmp_path, chosen="*a, 1")
    path = tmp_path / "out" / "reproduction.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "date": "2001-02-03"}))
    assert run(tmp_path, chosen="*a, 1")["date"] == "2001-02-03"
    assert run(tmp_path, chosen="*b, 1")["date"] > "2020"


def test_weights_stay_only_where_they_are_attacked(tmp_path, monkeypatch):
    kept = []

    def train(config, *, keeps_model):
        kept.append(keeps_model)
        for name in ("checkpoints", "tensorboard"):
            (pathlib.Path(config.place.output_dir) / name).mkdir(parents=True)
        return {}, {"test": {"accuracy": 0.5}}

    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr(inversion, "attack", lambda folder, options: {"test": {"accuracy": 0.5}})
    run(tmp_path, chosen="*a, 1")
    assert [folder.name for folder in tmp_path.glob("out/runs/*/*")] == ["tensorboard"] * 2
    [table] = TRAINED.tables
    attacked = dataclasses.replace(table.cells[1], attack={})
    both = dataclasses.replace(table, cells=(table.cells[0], attacked), higher=())
    (tmp_path / "other").mkdir()
    run(tmp_path / "other", dataclasses.replace(TRAINED, tables=(both,)))
    assert len(list(tmp_path.glob("other/out/runs/*/checkpoints"))) == 4
    assert kept == [False] * 2 + [True] * 4


def test_accuracies_without_learning_are_said_first(tmp_path, monkeypatch):
    scores = iter([0.6, 0.5, 0.4, 0.9] * 2)

    def train(config, **options):
        return {}, {"test": {"accuracy": next(scores), "majority_accuracy": 0.5}}

    monkeypatch.setattr(runs, "train", train)
    verdict = reproduction_page.verdict(run(tmp_path))
    assert verdict[1].startswith("2 of 4 accuracies of ours are no better than always predicting")


def test_only_what_changed_is_drawn_and_computed_again(tmp_path, trainer, drawn):
    counts = []

    def count():
        counts.append(1)
        return 1.0

    [table] = TRAINED.tables
    first, second = table.cells[:2]
    counted = paper.Cell("computed", "1", 1.0, compute=count)
    both = (
        dataclasses.replace(table, title="A", cells=(first, counted), higher=()),
        dataclasses.replace(table, title="B", cells=(second, counted), higher=()),
    )
    run(tmp_path, dataclasses.replace(TRAINED, tables=both))
    # Both tables get a number of each seed.
    titles = [figure.axes[0].get_title() for figure in drawn]
    assert (titles.count("A"), titles.count("B")) == (2, 2)
    assert len(counts) == 2


def test_wrong_folders_and_names(tmp_path, trainer):
    with pytest.raises(errors.UserError, match="cells=x: there are only 1: a, 1; 1: b, 1"):
        run(tmp_path, chosen="x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(errors.UserError, match="holds other files"):
        run(tmp_path)
    (tmp_path / "out" / "notes.txt").unlink()
    run(tmp_path, chosen="*a, 1")
    with pytest.raises(errors.UserError, match="holds a2020 at the scale small"):
        reproduction.reproduce(
            "a2020", TRAINED, "smoke", data_dir=tmp_path, output_dir=tmp_path / "out"
        )
    result = tmp_path / "out" / "reproduction.json"
    result.write_text("{")
    with pytest.raises(errors.UserError, match="reproduction.json is damaged"):
        run(tmp_path)
    result.unlink()
    assert json.loads(json.dumps(run(tmp_path, chosen="*a, 1")))["paper"] == "a2020"


def test_central_cells_are_central_runs(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        runs, "train", lambda c, **options: (seen.append(c), ({}, {"test": {"accuracy": 1.0}}))[1]
    )
    [table] = TRAINED.tables
    cell = paper.Cell("a", "1", 80.0, {"epochs": 2}, is_central=True)
    run(
        tmp_path,
        dataclasses.replace(
            TRAINED, tables=(dataclasses.replace(table, cells=(cell,), higher=()),)
        ),
    )
    assert [type(config) for config in seen] == [configs.CentralRun] * 2
