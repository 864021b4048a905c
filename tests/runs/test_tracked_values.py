"""With differential privacy, trackers receive only what epsilon covers or what clients do not tell.

The run of tests/experiments/test_trackers.py shows that the records have nothing else.
"""

import pytest

from tff_nlp.runs import configs, options, tracked_values

SHOWN = {
    "round": 1,
    "test_accuracy": 0.5,
    "test_perplexity": 9.0,
    "epsilon_rdp": 2.0,
    "epsilon_pld": 1.5,
    "clipping_norm": 0.1,
    "server_update_norm": 0.2,
}
HIDDEN = {
    "clients": 4,
    "train_loss": 0.3,
    "train_num_examples": 100,
    "train_non_finite_clients": 0,
    "train_update_norm": 1.0,
    "clipped_share": 0.25,
    "signal_to_noise": 0.01,
    "validation_accuracy": 0.5,
    "clients_accuracy": 0.5,
    "clients_worst_decile_accuracy": 0.1,
    "held_out_standard_deviation_accuracy": 0.2,
    "virtual_seconds": 60.0,
    "late_clients": 1,
    "seconds": 2.0,
    "a_new_column": 1.0,
}
RESULT = {
    "task": "classification",
    "rounds": 3,
    "test": {"accuracy": 0.5, "domains": {"author7": {"accuracy": 0.25}}},
    "clients": {"over_clients": {"worst_decile": 0.125}},
    "held_out": {"accuracy": 0.0625},
    "personal": {"harmed": 0.1},
    "tokens": {"train": {"texts": 77}},
    "fingerprints": {"train": "digest"},
    "bytes_per_client": {"up": 8},
    "privacy": {"rdp": 2.0, "line": "epsilon 2", "epsilon_by_client": {"author7": 1.0}},
    "config": {"seed": 3},
    "summary": ["clients   mean 0.5"],
    "a_new_key": 1,
}


def test_rows():
    row = {**SHOWN, **HIDDEN}
    assert tracked_values.of_row(row, private=True) == SHOWN
    assert tracked_values.of_row(row, private=False) == row


def test_results():
    assert tracked_values.of_result(RESULT, private=True) == {
        "task": "classification",
        "rounds": 3,
        "test": {"accuracy": 0.5},
        "bytes_per_client": {"up": 8},
        "privacy": {"rdp": 2.0, "line": "epsilon 2"},
    }
    everything = tracked_values.of_result(RESULT, private=False)
    assert set(RESULT) - set(everything) == {"config", "summary"}


def test_configurations():
    config = {
        **options.record(*configs.FederatedRun().recorded()),
        "corpus (fingerprint)": "digest",
    }
    assert tracked_values.of_config(config, private=False) == config
    shown = tracked_values.of_config(config, private=True)
    assert shown["clients_per_round"] == config["clients_per_round"]
    hidden = {"seed", "noise_seed", "corpus", "corpus (fingerprint)", "alone"}
    assert hidden < set(config)
    assert not hidden & set(shown)


@pytest.mark.parametrize(("private", "name"), [(False, "reviews-a1b2c3d4"), (True, "01234567")])
def test_names(private, name):
    """The name of a folder in runs/ has a digest of the texts."""
    found = tracked_values.name_of("reviews-a1b2c3d4", "0123456789abcdef", private=private)
    assert found == name
