"""The contenders by name, and a function that runs one. Only `run` imports TensorFlow."""

from benchmarks.task import Report, Task

# Value of --contexts -> the variants (contenders) that are measured for it.
CONTEXTS = {
    "fit": ("fit",),
    "ceiling": ("ceiling_threads", "ceiling_processes"),
    "streaming": ("streaming",),
    "streaming_bfloat16": ("streaming_bfloat16",),
    "streaming_dp": ("streaming_dp",),
    "ray": ("ray_1", "ray_2"),
    "tff": ("tff",),
    "ours_in_tff": ("ours_in_tff",),
}
DEFAULT_CONTEXTS = ("fit", "ceiling", "streaming", "ray", "tff")

DESCRIPTIONS = {
    "fit": "Keras's fit, no federation: the reference",
    "ceiling": "a plain TensorFlow loop with sparse embedding updates, no federation",
    "streaming": "this package's FedAvg in the streaming context",
    "streaming_bfloat16": "the same with --compute_dtype=bfloat16",
    "streaming_dp": "streaming with updates clipped and Gaussian noise on their sum",
    "ray_1": "this package's FedAvg on Ray with one actor",
    "ray_2": "this package's FedAvg on Ray with two actors",
    "tff": "TFF's own FedAvg of a Keras model in TFF's own worker",
    "ours_in_tff": "this package's FedAvg in TFF's own worker",
}


def run(task: Task, report: Report) -> None:
    """Measures one contender in this process.

    Args:
      task: The measurement.
      report: Function that is called with the seconds of each round.
    """
    # Each contender imports only what it needs. For example, TFF must not add to `fit`'s memory.
    if task.contender == "fit":
        from benchmarks import keras_fit

        keras_fit.run(task, report)
        return
    if task.contender.startswith("ceiling_"):
        from benchmarks import plain_loop

        if task.contender == "ceiling_processes":
            plain_loop.run_processes(task, report)
        else:
            plain_loop.run_threads(task, report)
        return
    from benchmarks import federated

    if task.contender == "streaming":
        federated.run_streaming(task, report)
    elif task.contender == "streaming_bfloat16":
        federated.run_streaming(task, report, compute_dtype="bfloat16")
    elif task.contender == "streaming_dp":
        federated.run_streaming(task, report, private=True)
    elif task.contender == "ours_in_tff":
        federated.run_ours_in_tff(task, report)
    elif task.contender == "tff":
        federated.run_tff(task, report)
    else:
        federated.run_ray(task, report, actors=int(task.contender.removeprefix("ray_")))
