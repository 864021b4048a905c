"""Makes the keys of a federation: an authority, and a folder for the coordinator and each silo.

  experiments/enroll.py --output_dir=keys --silos=north,south,west --hosts=federation.example.org

Give each party its own folder, by a way that you trust, and keep `authority/` offline. Certificates
of an authority of your own can replace these; docs/federation.md says what they need.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
import pathlib

from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.deployment import certificates
from tff_nlp.errors import verbatim
from tff_nlp.runs import reporter
from tff_nlp.runs.configs import federation

FLAGS = flags.FlagValues()
GROUPS = (federation.EnrolmentConfig,)
for _group in GROUPS:
    groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    config = groups.parse(federation.EnrolmentConfig, FLAGS)
    names, hosts = (
        [part.strip() for part in value.split(",") if part.strip()]
        for value in (config.silos, config.hosts)
    )
    folders = certificates.enrol(pathlib.Path(config.output_dir), names, hosts, days=config.days)
    for name, folder in folders.items():
        reporter.say("keys", [f"{name}: {verbatim(folder)}"])


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS)
