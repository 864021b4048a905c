"""Silences messages that TensorFlow and other libraries print when they start.

The package does this when it is imported, before it imports any of these libraries.
"""

import contextlib
import io
import logging
import os
import warnings

# The variable that says what gRPC logs, and its value for nothing.
GRPC_VERBOSITY, GRPC_SILENT = "GRPC_VERBOSITY", "NONE"


def silence_start() -> None:
    """Sets the environment variables and filters that the libraries read when they start.

    Variables that are already set stay as they are.
    """
    # CUDA plug-ins register twice and log errors on every machine. Real errors are raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # gRPC logs each connection that ends.
    os.environ.setdefault(GRPC_VERBOSITY, GRPC_SILENT)
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")
    # tqdm asks for ipywidgets in a notebook. No bar of this package needs them.
    warnings.filterwarnings("ignore", message="IProgress not found")
    # TensorFlow Privacy's discrete noise leaves assertions unused. Each logs ten lines. And a
    # SavedModel logs the name of a folder that is renamed at once.
    logging.getLogger("tensorflow").addFilter(_is_worth_reading)


def _is_worth_reading(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(part in message for part in ("Object was never used", "Assets written to"))


def import_keras_nlp() -> None:
    """Imports KerasNLP without its message about the backend on standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        import keras_nlp  # noqa: F401
