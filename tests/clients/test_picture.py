import re

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.image import imread

from tff_nlp.clients import partitions
from tff_nlp.clients.picture import _by_mix, _colors, _main_labels, draw_partition, draw_sizes
from tff_nlp.errors import WriteError


@pytest.mark.parametrize(
    ("clients", "num_labels"), [(1, 2), (6, 3), (40, 1), (41, 3), (700, 2), (100, 28)]
)
def test_draws_any_population(tmp_path, make_corpus, clients, num_labels):
    corpus = make_corpus(2000, num_labels)
    path = tmp_path / "clients.png"
    partition = partitions.dirichlet(corpus, clients, 0.5, 0)
    draw_partition(partition, corpus.labels, corpus.label_names, path)
    image = imread(path)
    assert image.shape[0] > 300 and image.shape[1] == 1320
    # The picture is not blank: a large part is coloured.
    assert (np.ptp(image[..., :3], axis=-1) > 0.2).mean() > 0.15


def test_odd_names(tmp_path, make_corpus):
    authors = ["$x_1^", "平板", "a" * 99, "100%", r"\frac"] * 4
    corpus = make_corpus(20, authors=authors)
    draw_partition(
        partitions.natural(corpus), corpus.labels, ["$a$", "_b", ""], tmp_path / "x.png", title="$"
    )
    assert (tmp_path / "x.png").stat().st_size > 5000


def test_rare_labels_share_a_column():
    counts = np.tile(np.arange(1, 13), (4, 1))
    merged, names = _main_labels(counts, [f"l{label}" for label in range(12)])
    assert names == [*(f"l{label}" for label in range(5, 12)), "5 other labels"]
    assert merged[0].tolist() == [6, 7, 8, 9, 10, 11, 12, 1 + 2 + 3 + 4 + 5]


def test_order_by_mix():
    counts = np.array([[1, 9], [9, 1], [5, 5]])
    assert _by_mix(counts).tolist() == [1, 2, 0]


def test_unwritable(tmp_path, make_corpus):
    corpus = make_corpus(10)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match="x.png: cannot be written"):
        draw_partition(
            partitions.iid(corpus, 2, 0), corpus.labels, corpus.label_names,
            tmp_path / "file" / "x.png",
        )  # fmt: skip


@pytest.mark.parametrize(("count", "others"), [(2, False), (3, False), (8, False), (8, True)])
def test_labels_differ_in_grey(count, others):
    colors = np.array([matplotlib.colors.to_rgb(color) for color in _colors(count, others)])
    lightness = colors @ [0.299, 0.587, 0.114]
    assert len(colors) == count
    # Colours go from dark to light in steps that are visible in print.
    assert (np.diff(lightness) > 0.05).all()
    assert lightness[-1] - lightness[0] > 0.45


def test_the_picture_says_who_the_clients_are_and_how_they_are_sorted(tmp_path, make_corpus, drawn):
    corpus = make_corpus(500, 3, authors=[f"a{n % 50}" for n in range(500)])
    title = "a long title of a corpus in a deep folder " * 4
    names = ["bad", "so so", "good"]
    path = tmp_path / "x.png"
    draw_partition(partitions.natural(corpus), corpus.labels, names, path, title=title)
    lines = drawn[0].get_suptitle().splitlines()
    assert lines[-1] == "50 clients: one for each author, or other value of the client column"
    assert " ".join(lines[:-1]) == title.strip()
    assert max(map(len, lines)) <= 100
    axes = drawn[0].axes[0]
    assert axes.get_xlabel().startswith("clients, grouped by their most frequent label")
    # There is a line between groups, in addition to the dashed lines.
    groups = [line for line in axes.lines if line.get_xdata()[0] == line.get_xdata()[1]]
    assert len(groups) == 2

    corpus = make_corpus(500, 2)
    draw_partition(partitions.iid(corpus, 50, 0), corpus.labels, names[:2], path)
    assert drawn[1].axes[0].get_xlabel().startswith("clients, sorted by their share of bad")
    assert drawn[1].get_suptitle() == "50 clients: examples dealt out at random"


@pytest.mark.parametrize("kind", partitions.KINDS)
def test_every_kind_has_words(tmp_path, make_corpus, drawn, kind):
    corpus = make_corpus(60, authors=[f"a{n % 6}" for n in range(60)])
    partition = partitions.build(
        corpus, kind, 0, num_clients=4, alpha=0.7, shards_per_client=2, min_examples=1
    )
    draw_partition(partition, corpus.labels, corpus.label_names, tmp_path / "x.png")
    words = drawn[0].get_suptitle()
    assert re.fullmatch(r"[46] clients: [a-zA-Z0-9 ,.]{16,}", words)


@pytest.mark.parametrize("clients", [1, 40, 41])
def test_sizes_alone_are_drawn_where_texts_have_no_labels(tmp_path, make_corpus, clients):
    partition = partitions.quantity(make_corpus(500), clients, 0.5, 0)
    draw_sizes(partition, tmp_path / "clients.png", title="$speeches")
    image = imread(tmp_path / "clients.png")
    assert image.shape[1] == 840
    assert (np.ptp(image[..., :3], axis=-1) > 0.1).mean() > 0.05
