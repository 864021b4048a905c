"""A folder that is not a saved text classifier gives an error of one line."""

import pytest
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.serving import predictor


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match="model=.*none: there is no such folder"):
        predictor.load(tmp_path / "none")
    with pytest.raises(UserError, match="run=.*saved_model.pb is missing"):
        predictor.load(tmp_path, flag="run")


def test_damaged_model(tmp_path):
    module = tf.Module()
    module.weight = tf.Variable([1.0])
    tf.saved_model.save(module, str(tmp_path))
    with pytest.raises(UserError, match="not a text classifier: no signature"):
        predictor.load(tmp_path)
    (tmp_path / "variables" / "variables.index").unlink()
    with pytest.raises(UserError, match="cannot load the saved model") as error:
        predictor.load(tmp_path)
    assert "\n" not in str(error.value)
    (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="cannot load the saved model"):
        predictor.load(tmp_path)
