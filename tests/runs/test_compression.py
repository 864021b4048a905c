import pathlib

import pytest

from tff_nlp import errors
from tff_nlp.runs import cells, compression, compression_picture, configs

FOUND = {
    "none": {"score": 0.9, "bytes_up": 4000, "curve": [(4000, 0.5), (8000, 0.9)]},
    "top_k, 8 bits": {"score": 0.875, "bytes_up": 50, "curve": [(50, 0.4), (100, 0.875)]},
    "signs": {"diverged": "round 2"},
    "power_sgd": {"refused": "--compression=power_sgd: why"},
}


def test_a_run_has_only_the_options_that_it_uses():
    base = configs.FederatedRun(
        compression=configs.CompressionConfig(
            compression_fraction=0.05, compression_rank=2, error_feedback=False
        ),
        place=configs.PlaceConfig(output_dir="runs"),
    )
    for name, bits in configs.CompressionPlanConfig().pairs():
        own = compression._with(base, name, bits, pathlib.Path("runs"))
        assert configs.without_effect(own.compression) == []
        assert (own.compression.compression, own.compression.upload_bits) == (name, bits)
    top_k = compression._with(base, "top_k", 8, pathlib.Path("runs"))
    assert top_k.compression.compression_fraction == 0.05
    assert top_k.place.output_dir == "runs/top_k-8bits"
    assert not top_k.compression.error_feedback


def test_the_table_shows_scores_and_bytes():
    assert compression.table(FOUND) == [
        "compression    test score  bytes up per client and round  times fewer",
        "none                0.900                          4,000          1.0",
        "top_k, 8 bits       0.875                             50         80.0",
        "signs            diverged                                            ",
        "power_sgd         refused                                            ",
    ]


def test_the_curve_adds_up_the_bytes_of_all_clients():
    rows = [
        {"round": "1", "clients": "3", "test_accuracy": ""},
        {"round": "2", "clients": "4", "test_accuracy": "0.5"},
        {"round": "3", "clients": "2", "test_accuracy": "0.75"},
    ]
    assert compression.curve(rows, "accuracy", 10) == [(70, 0.5), (90, 0.75)]


def test_the_picture_is_drawn(tmp_path):
    compression_picture.draw(FOUND, tmp_path / "picture.png", title="reviews.csv")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


@pytest.mark.parametrize("given", ["zip", "top_k/3", "top_k/", "none,none", "none,none/32", ""])
def test_unknown_ways_are_refused(given):
    with pytest.raises(errors.UserError, match="compressions="):
        configs.CompressionPlanConfig(compressions=given)


def test_signs_are_not_rounded_before_anything_trains():
    with pytest.raises(errors.UserError, match="compression=signs sends single bits"):
        configs.CompressionPlanConfig(compressions="none,signs/8")


def test_with_devices_only_arrived_clients_have_sent():
    rows = [{"clients": "9", "arrived_clients": "3", "test_accuracy": "0.5"}]
    assert compression.curve(rows, "accuracy", 10) == [(30, 0.5)]


def test_a_comparison_needs_a_folder_and_no_single_way():
    with pytest.raises(errors.UserError, match="output_dir: must be given"):
        compression.run(configs.FederatedRun(), configs.CompressionPlanConfig())
    base = configs.FederatedRun(
        place=configs.PlaceConfig(output_dir="runs"),
        compression=configs.CompressionConfig(compression="signs"),
    )
    with pytest.raises(errors.UserError, match="compression=signs: several are compared"):
        compression.run(base, configs.CompressionPlanConfig())


def test_what_is_refused_before_training_says_why():
    cell = configs.FederatedRun(
        federated=configs.FederatedConfig(algorithm="scaffold"),
        compression=configs.CompressionConfig(compression="signs"),
    )
    found, result = cells.train(cell)
    assert result == {}
    assert found["refused"].startswith("--compression=signs: alters the changes of control")
    assert cells.outcome(found) == "refused"
