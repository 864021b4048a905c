"""Loads a model in a worker."""

import os

from tff_nlp.errors import UserError, verbatim
from tff_nlp.serving import any_model, model_fingerprint
from tff_nlp.serving.service.model_list import ModelSpec
from tff_nlp.serving.service.worker import Load


def loader(workers: int) -> Load:
    """Returns the function that loads a model in one of several workers.

    The workers share the processor cores of the machine.

    Args:
      workers: Number of workers.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // workers)

    def load(spec: ModelSpec) -> any_model.Model:
        _limit_threads(threads)
        if model_fingerprint.of(spec.folder) != spec.fingerprint:
            raise UserError(
                f"`run`: {verbatim(spec)}: the files in {verbatim(spec.folder)} have changed "
                "since the service read them; send it SIGHUP to serve the new ones"
            )
        return any_model.load(spec.folder, flag="run")

    return load


def _limit_threads(threads: int) -> None:
    import tensorflow as tf

    # TensorFlow refuses a change after its first operation.
    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
