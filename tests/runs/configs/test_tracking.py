"""The config of trackers: names, and packages that are extras."""

import pytest

from tff_nlp.errors import UserError
from tff_nlp.runs import configs
from tff_nlp.runs.configs import tracking


@pytest.fixture
def installed(monkeypatch):
    """Both packages count as installed."""
    monkeypatch.setattr(tracking, "_is_installed", lambda name: True)


@pytest.mark.parametrize(
    ("text", "names"),
    [("", ()), ("mlflow", ("mlflow",)), ("wandb, mlflow", ("wandb", "mlflow"))],
)
def test_names(installed, text, names):
    assert configs.TrackingConfig(text).names() == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("comet", "trackers=comet: there is no tracker comet; take mlflow, wandb"),
        ("mlflow,", "trackers=mlflow,: there is no tracker without a name; take"),
        ("mlflow,mlflow", "trackers=mlflow,mlflow: names mlflow twice"),
    ],
)
def test_refused_names(installed, text, message):
    with pytest.raises(UserError) as raised:
        configs.TrackingConfig(text)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("name", tracking.TRACKERS)
def test_a_package_must_be_installed_only_where_it_is_asked_for(monkeypatch, name):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    configs.TrackingConfig()
    title = {"mlflow": "MLflow", "wandb": "Weights & Biases"}[name]
    with pytest.raises(UserError) as raised:
        configs.TrackingConfig(name)
    expected = f"trackers={name}: {title} is not installed; EXTRAS={name} scripts/setup adds it"
    assert str(raised.value) == expected


def test_a_folder_with_the_name_of_a_package_is_none(tmp_path, monkeypatch):
    """W&B leaves a folder `wandb` in the working directory, which Python can import."""
    (tmp_path / "folder_of_records").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not tracking._is_installed("folder_of_records")
    assert tracking._is_installed("json")


def test_trackers_are_no_part_of_what_a_run_is(installed):
    plain = configs.FederatedRun()
    tracked = configs.FederatedRun(tracking=configs.TrackingConfig("mlflow"))
    assert tracked != plain
    assert tracked.recorded() == plain.recorded()
