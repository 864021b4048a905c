r"""Serves trained classifiers over HTTP.

  experiments/serve.py --run=runs/demo
  experiments/serve.py --run=reviews=runs/a,reviews=runs/b,pairs=runs/c --workers=2
  experiments/serve.py --new_key=shop --api_keys=keys.jsonl --requests_per_minute=600
  experiments/serve.py --models=models.txt --api_keys=keys.jsonl --host=0.0.0.0

  curl -d '{"text": "Not bad at all."}' http://127.0.0.1:8000/v1/predict

SIGTERM finishes the running requests and stops. SIGHUP reads the models and the keys again, and
switches when the new models are loaded and checked. docs/serving.md describes the addresses.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
import sys

from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp import errors
from tff_nlp.printable import printable
from tff_nlp.runs import service

FLAGS = flags.FlagValues()
GROUPS = groups.of_run(service.Service)
for _group in GROUPS:
    groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    asked = service.Service(*(groups.parse(group, FLAGS) for group in GROUPS))
    if asked.new_key.new_key:
        print(service.add_key(asked, _say))
        return
    service.serve(asked, _say)


def _say(line: str) -> None:
    print(f"serve.py: {printable(errors.with_flags(line))}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS)
