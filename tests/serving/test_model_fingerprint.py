"""A run's model is compared with the fingerprint of its run before it is loaded."""

import json

import pytest

from tff_nlp.errors import UserError
from tff_nlp.serving import model_fingerprint, predictor


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "run" / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(bytes(3_000_000))
    return folder


def stated(model, value):
    (model.parent / "result.json").write_text(json.dumps({"fingerprints": {"model": value}}))


CHANGES = {
    "content": lambda model: (model / "saved_model.pb").write_bytes(b"grapf"),
    "last byte": lambda model: (model / "variables" / "data").write_bytes(bytes(2_999_999) + b"x"),
    "name": lambda model: (model / "saved_model.pb").rename(model / "saved_model.pbtxt"),
    "one more": lambda model: (model / "assets.extra").write_bytes(b""),
    "moved bytes": lambda model: (
        (model / "saved_model.pb").write_bytes(b"graph\0"),
        (model / "variables" / "data").write_bytes(bytes(2_999_999)),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_found_before_the_model_is_loaded(model, change, monkeypatch):
    stated(model, model_fingerprint.of(model))
    model_fingerprint.check(model, "run")
    CHANGES[change](model)
    with pytest.raises(UserError, match=r"^run=.*not the model that result\.json"):
        model_fingerprint.check(model, "run")
    monkeypatch.setattr(predictor.tf.saved_model, "load", lambda _: pytest.fail())
    with pytest.raises(UserError):
        predictor.load(model, flag="run")


@pytest.mark.parametrize("result", [None, "[]", "{", '{"fingerprints": {}}'])
def test_a_model_without_a_stored_fingerprint_passes(model, result):
    if result is not None:
        (model.parent / "result.json").write_text(result)
    model_fingerprint.check(model, "run")
