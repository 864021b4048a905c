"""Private federated learning on text with TensorFlow Federated."""

from tff_nlp import versions

versions.check()
