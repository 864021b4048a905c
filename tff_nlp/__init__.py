"""Private federated learning on text with TensorFlow Federated."""

from tff_nlp import protobuf_depth, versions

versions.check()
protobuf_depth.lift_limit()
