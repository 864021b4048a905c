"""The process that measures one contender. `children` starts it with a task in JSON."""

import os
import sys

import tff_nlp  # noqa: F401 (before TensorFlow is imported)
from benchmarks import contenders, task


def main() -> None:
    """Runs the task and writes the report to the original standard output."""
    # Output of libraries goes to the log instead. Child processes do not inherit the copy of
    # standard output, because they may live longer than this process.
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    given = task.Task.from_json(sys.argv[1])
    contenders.run(given, task.reporter(given, stream))


if __name__ == "__main__":
    main()
