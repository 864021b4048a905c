"""Private federated learning on text with TensorFlow Federated."""

from tff_nlp import protobuf_depth, silence_libraries, versions

silence_libraries.silence_start()
versions.check()
protobuf_depth.lift_limit()
