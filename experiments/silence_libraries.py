"""Keeps the libraries' start-up chatter out of what a script prints; import it before them."""

import contextlib
import io
import logging
import os
import warnings

# CUDA plug-ins that register twice log errors on every machine; real errors are raised.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
warnings.filterwarnings("ignore", message=".*pkg_resources.*")
# TensorFlow Privacy's discrete noise leaves assertions unused, each of them ten lines of log.
logging.getLogger("tensorflow").addFilter(
    lambda record: "Object was never used" not in record.getMessage()
)


def import_keras_nlp() -> None:
    """Imports KerasNLP, which announces its backend on standard output, without the words."""
    with contextlib.redirect_stdout(io.StringIO()):
        import keras_nlp  # noqa: F401
