"""The process that measures one contender; `children` starts it with a task in JSON."""

import os
import sys

import tff_nlp  # noqa: F401 (before TensorFlow is imported)
from experiments.benchmark import contenders, task


def main() -> None:
    """Runs the task and reports it on what was standard output."""
    # Whatever libraries print goes to the log; the copy is not inherited by further processes,
    # one of which may outlive this one.
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    given = task.Task.from_json(sys.argv[1])
    contenders.run(given, task.reporter(given, stream))


if __name__ == "__main__":
    main()
