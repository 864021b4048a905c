"""Keeps the libraries' start-up chatter out of what a script prints; import it before them."""

import os
import warnings

# CUDA plug-ins that register twice log errors on every machine; real errors are raised.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# keras_core announces its backend otherwise.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
warnings.filterwarnings("ignore", message=".*pkg_resources.*")
