"""experiments/reproduce.py: every paper's settings and departures, exact tables, tiny runs."""

import dataclasses
import json
import pathlib
import random

import pytest

from experiments import papers, reproduce
from tests.experiments import conftest
from tff_nlp.runs import options, paper, reproduction_page

PAPERS = {name: papers.load(name) for name in papers.NAMES}
TRAINED = [name for name, found in PAPERS.items() if found.scales]
EXACT = [name for name in PAPERS if name not in TRAINED]
# The settings of a run that "auto" or an empty value leave to the run.
RESOLVED = {
    *("partition", "sampling", "weighting", "client_optimizer", "client_learning_rate"),
    *("trainable", "personalize", "client_validation_fraction", "devices", "encoder"),
}
WORDS = ("good", "bad", "slow", "fast", "screen", "hotel", "film", "never", "always", "nice")


def cells_of(name, scale):
    found = PAPERS[name]
    return [(label, cell) for label, _, cell in found.cells() if cell.compute is None]


@pytest.mark.parametrize("scale", paper.SCALES)
@pytest.mark.parametrize("name", TRAINED)
def test_each_option_is_the_papers_or_a_named_departure(name, scale):
    published = PAPERS[name]
    named = paper.departures_of(published, scale)
    labels = [label for label, _, cell in published.cells() if cell.compute is None]
    for label, cell in cells_of(name, scale):
        run = paper.config_of(
            published, cell, scale, seed=0, data_dir=pathlib.Path("d"), output_dir="o"
        )
        groups = [getattr(run, field.name) for field in dataclasses.fields(run)]
        ours = options.record(*groups)
        papers_own = {**paper.defaults(cell), **published.settings, **cell.settings}
        different = {
            option
            for option, value in ours.items()
            if value != papers_own[option]
            and option not in ("corpus", "test_corpus", "output_dir", "seed", "eval_every")
        }
        # All settings that a run of this kind has are used.
        assert all(ours[o].endswith(papers_own[o]) for o in ("corpus", "test_corpus"))
        on_page = {d.what for d in named if d.what in ours and label in (d.cells or labels)}
        assert different <= on_page, label
        # What the paper does not state departs from it, also where it is our default.
        assert not (on_page - different) & {*published.settings, *cell.settings}, label
        assert all(d.why for d in named)


@pytest.mark.parametrize("name", TRAINED)
def test_no_setting_of_a_paper_is_lost(name):
    published = PAPERS[name]
    known = set().union(*(paper.defaults(cell) for _, cell in cells_of(name, "small")))
    assert set(published.settings) <= known
    assert {file.path for file in published.files} >= {
        value
        for _, cell in cells_of(name, "small")
        for option, value in {**published.settings, **cell.settings}.items()
        if option in ("corpus", "test_corpus") and value
    }
    # A difference between two numbers needs two seeds.
    assert len(published.scale("small").seeds) >= 2


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.thorough) if name == "scaffold2020" else name
        for name in EXACT
    ],
)
def test_exact_tables_equal_the_published_ones(name, tmp_path):
    ended = conftest.script(reproduce, name, f"--output_dir={tmp_path / 'o'}", takes_arguments=True)
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "o" / "reproduction.json").read_text())
    compared = [(t, c) for t in found["tables"] for c in t["cells"] if c["published"] is not None]
    assert compared and all(reproduction_page.is_equal(t, c) for t, c in compared)
    assert "exact numbers equal the published ones" in ended.out


def test_the_list_names_every_paper_and_its_files():
    ended = conftest.script(reproduce, "--list", takes_arguments=True)
    assert ended.code == 0
    lines = {line.split()[0]: line for line in ended.out.splitlines() if line.strip()}
    assert set(papers.NAMES) <= set(lines)
    assert "RTE/train.tsv" in lines["fedpetuning2023"] and "none" in lines["mcmahan2018"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one paper: basu2021"),
        (["mcmahan2018", "basu2021"], "name one paper"),
        (["mcmahan2017"], "mcmahan2017: the papers are basu2021"),
        (["basu2021"], "dep1_cleaned.csv is missing; it comes from Data/Depression_Data"),
        (["mcmahan2018", "--cells=x"], "--cells=x: there are only 1: 100,000 clients"),
        (["mcmahan2018", "--scale=tiny"], "flag --scale=tiny"),
    ],
)
def test_mistakes(tmp_path, arguments, message):
    ended = conftest.script(
        reproduce,
        *arguments,
        f"--data_dir={tmp_path}",
        f"--output_dir={tmp_path / 'out'}",
        takes_arguments=True,
    )
    assert ended.code == 2
    assert message in ended.err and len(ended.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def write_corpora(folder):
    """Writes made-up texts in the formats of the papers' corpora."""
    choose = random.Random(3)

    def text(length=6):
        return " ".join(choose.choice(WORDS) for _ in range(length))

    def table(path, header, rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")

    count = 150
    tweets = [f"{n},{text()},{n % 3 == 0:d}" for n in range(count)]
    table(folder / "dep1_cleaned.csv", ",tweet,target", tweets)
    for part in ("train", "dev"):
        labels = ("entailment", "not_entailment")
        pairs = [f"{n}\t{text()}\t{text()}\t{labels[n % 2]}" for n in range(count)]
        table(folder / "RTE" / f"{part}.tsv", "index\tsentence1\tsentence2\tlabel", pairs)
        phrases = [f"{text()}\t{n % 2}" for n in range(count)]
        table(folder / "SST-2" / f"{part}.tsv", "sentence\tlabel", phrases)
    for part in ("train", "test"):
        header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
        rows = [f"{n % 2}\t{n}\t{n}\t{text()}\t{text()}" for n in range(count)]
        table(folder / "MRPC" / f"msr_paraphrase_{part}.txt", header, rows)
        for n in range(count):
            group = folder / f"20news-bydate/20news-bydate-{part}" / ("sci.med", "rec.autos")[n % 2]
            group.mkdir(parents=True, exist_ok=True)
            (group / str(n)).write_text(f"From: a\nSubject: {text(3)}\n\n{text(20)}\n")
    bank = [f"{text()} .@{('positive', 'neutral', 'negative')[n % 3]}" for n in range(count)]
    table(folder / "FinancialPhraseBank-v1.0" / "Sentences_50Agree.txt", bank[0], bank[1:])
    reviews = [f"{text(20)},{n % 2}" for n in range(count)]
    table(folder / "imdb" / "imdb.csv", "reviews,labels", reviews)
    return folder


# Cells that pass through everything that a paper needs.
SMOKE_CELLS = {
    "basu2021": "*as run, non-IID;*as described, accuracy*",
    "dager2024": "*batch 1",
    "fednlp2022": "*",
    "fedpetuning2023": "*RTE*;1: prefix, alpha 0.1;2: LoRA, alpha 10;3: full, alpha 1;*times fewer",
    "hilmkil2021": "*, 1 client;*32 clients",
    "layer_freezing": "*",
    "nvflare_peft": "*",
}


def smoke(name, tmp_path):
    data = write_corpora(tmp_path / "data")
    out = tmp_path / "out"
    ended = conftest.script(
        reproduce,
        name,
        "--scale=smoke",
        f"--cells={SMOKE_CELLS[name]}",
        f"--data_dir={data}",
        f"--output_dir={out}",
        takes_arguments=True,
    )
    assert ended.code == 0, ended.err
    return out, json.loads((out / "reproduction.json").read_text())


def check_runs(name, out):
    """Compares what each run has recorded with the configuration that the page describes."""
    published = PAPERS[name]
    attacked = any(cell.attack for _, _, cell in published.cells())
    for folder in (out / "runs").iterdir():
        assert (folder / "report.html").exists()
        assert attacked == (folder / "model").exists() == (folder / "checkpoints").exists()
    recorded = []
    for path in (out / "results").glob("*.json"):
        result = json.loads(path.read_text())["result"]
        assert "refused" not in result and "diverged" not in result, result
        if "config" in result:
            recorded.append(result["config"])
    for config in recorded:
        matching = [
            cell
            for _, cell in cells_of(name, "smoke")
            if _expected(published, cell).items() <= {**config}.items()
        ]
        assert matching, config


def _expected(published, cell):
    run = paper.config_of(
        published, cell, "smoke", seed=0, data_dir=pathlib.Path("d"), output_dir="o"
    )
    groups = [getattr(run, field.name) for field in dataclasses.fields(run)]
    values = options.record(*groups)
    given = {**published.settings, **cell.settings, **paper.changes_of(published, cell, "smoke")}
    free = {"corpus", "test_corpus", "output_dir", "cache_dir", "seed", "trackers"}
    free |= {o for o in RESOLVED if o not in given}
    return {option: value for option, value in values.items() if option not in free}


@pytest.mark.parametrize("name", [n for n in TRAINED if n != "nvflare_peft"])
@pytest.mark.slow
def test_a_tiny_network_goes_through_every_paper(name, tmp_path):
    out, found = smoke(name, tmp_path)
    chosen = [cell for table in found["tables"] for cell in table["cells"] if cell["seeds"]]
    assert chosen and all(cell["ours"] is not None for cell in chosen)
    check_runs(name, out)


def test_a_tiny_network_goes_through_a_paper(tmp_path):
    out, found = smoke("nvflare_peft", tmp_path)
    ours, most_frequent = found["tables"][0]["cells"]
    assert 0 <= ours["ours"] <= 100 and 33 <= most_frequent["ours"] <= 50
    # Both cells are read from one run.
    assert len(list((out / "results").iterdir())) == 1
    check_runs("nvflare_peft", out)
    page = (out / "reproduction.html").read_text()
    assert "Departures" in page and "a tiny network that begins at random" in page
