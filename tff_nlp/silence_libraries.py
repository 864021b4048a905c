"""Keeps the chatter of TensorFlow and its companions at their start from people.

The package silences it when it is imported itself, which is before it imports any of them.
"""

import contextlib
import io
import logging
import os
import warnings


def silence_start() -> None:
    """Sets what the libraries read at their start; a level of logging that was set before stays."""
    # CUDA plug-ins that register twice log errors on every machine; real errors are raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")
    # TensorFlow Privacy's discrete noise leaves assertions unused, each of them ten lines of log.
    logging.getLogger("tensorflow").addFilter(_is_worth_reading)


def _is_worth_reading(record: logging.LogRecord) -> bool:
    return "Object was never used" not in record.getMessage()


def import_keras_nlp() -> None:
    """Imports KerasNLP, which announces its backend on standard output, without the words."""
    with contextlib.redirect_stdout(io.StringIO()):
        import keras_nlp  # noqa: F401
