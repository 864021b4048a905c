import numpy as np
import pytest
from matplotlib.image import imread

from tff_nlp.clients import partitions
from tff_nlp.clients.picture import _by_mix, _main_labels, draw_partition
from tff_nlp.errors import UserError


@pytest.mark.parametrize(
    ("clients", "num_labels"), [(1, 2), (6, 3), (40, 1), (41, 3), (700, 2), (100, 28)]
)
def test_draws_any_population(tmp_path, make_corpus, clients, num_labels):
    corpus = make_corpus(2000, num_labels)
    path = tmp_path / "deep" / "clients.png"
    partition = partitions.dirichlet(corpus, clients, 0.5, 0)
    draw_partition(partition, corpus.labels, corpus.label_names, path)
    image = imread(path)
    assert image.shape[0] > 300 and image.shape[1] == 1320
    # Not blank: a good part of the picture is coloured.
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
    with pytest.raises(UserError, match="cannot write the picture"):
        draw_partition(
            partitions.iid(corpus, 2, 0), corpus.labels, corpus.label_names,
            tmp_path / "file" / "x.png",
        )  # fmt: skip
