import pathlib

import pytest

from tff_nlp import errors
from tff_nlp.runs import configs, robustness, robustness_picture

CELLS = {
    "none": {"mean": {"score": 0.9}, "norm_bound": {"score": 0.8}},
    "scaling": {"mean": {"diverged": "round 2"}, "norm_bound": {"score": 0.7}},
    "alie": {"mean": {"score": 0.25}, "norm_bound": {"refused": "--attack=alie: why"}},
    "backdoor": {
        "mean": {"score": 0.9, "backdoor_success": 0.75},
        "norm_bound": {"score": 0.85, "backdoor_success": 0.0},
    },
}


def test_a_cell_has_only_the_options_that_it_uses():
    base = configs.FederatedRun(
        aggregation=configs.AggregationConfig(byzantine_clients=3, update_norm_bound=0.5),
        attack=configs.AttackConfig(attack_fraction=0.3, attack_scale=4.0, backdoor_trigger="mn"),
        place=configs.PlaceConfig(output_dir="runs/matrix"),
    )

    def cell(attack, aggregator):
        return robustness._cell(base, attack, aggregator, pathlib.Path("runs/matrix"))

    for attack in configs.RobustnessConfig().rows():
        for aggregator in configs.RobustnessConfig().columns():
            found = cell(attack, aggregator)
            assert configs.without_effect(found.attack, found.aggregation) == []
            assert found.place.output_dir == f"runs/matrix/{attack}-{aggregator}"
    assert cell("backdoor", "krum").attack.backdoor_trigger == "mn"
    assert cell("scaling", "krum").attack.attack_scale == 4.0
    assert cell("label_flip", "krum").aggregation.byzantine_clients == 3
    assert cell("label_flip", "norm_bound").aggregation.update_norm_bound == 0.5


def test_the_table_shows_scores_and_the_success_of_a_backdoor():
    assert robustness.table(CELLS) == [
        "                   mean     norm_bound",
        "none              0.900          0.800",
        "scaling        diverged          0.700",
        "alie              0.250        refused",
        "backdoor  0.900 (0.750)  0.850 (0.000)",
    ]


def test_the_picture_is_drawn(tmp_path):
    robustness_picture.draw(CELLS, tmp_path / "matrix.png", title="reviews.csv")
    assert (tmp_path / "matrix.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attacks": "none,hack"}, "attacks=hack: must be some of none, label_flip"),
        ({"aggregators": "mean,mean"}, "aggregators=mean,mean: must be without repetition"),
    ],
)
def test_unknown_rows_and_columns_are_refused(options, message):
    with pytest.raises(errors.UserError, match=message):
        configs.RobustnessConfig(**options)


def test_a_matrix_needs_a_folder_and_no_single_attack():
    with pytest.raises(errors.UserError, match="output_dir: must be given"):
        robustness.run(configs.FederatedRun(), configs.RobustnessConfig())
    base = configs.FederatedRun(
        place=configs.PlaceConfig(output_dir="runs/matrix"),
        attack=configs.AttackConfig(attack="alie"),
    )
    with pytest.raises(errors.UserError, match="attack=alie: the matrix has several; take attacks"):
        robustness.run(base, configs.RobustnessConfig())
