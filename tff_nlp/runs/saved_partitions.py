"""The partitions of a run, saved in the private part of its folder."""

import dataclasses
import pathlib

from tff_nlp import durable_files
from tff_nlp.clients import manifest, partition, splits
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.program import run_directory

_FOLDER = "partition"
_PARTS = ("train", "validation", "test", "held_out")
# The last file that is written. Without it, the others are incomplete.
_WHOLE = "whole"


@dataclasses.dataclass(frozen=True, eq=False)
class Holders:
    """The partition of a corpus into clients, and its splits.

    Attributes:
      whole: All clients with all their examples.
      split: The same examples, split into training, validation, test and held-out clients.
    """

    whole: partition.Partition
    split: splits.ClientSplits

    def lines(self) -> list[str]:
        """Returns a readable description, two lines."""
        return [self.whole.summary(), self.split.summary()]


def save(run: pathlib.Path, holders: Holders) -> None:
    """Writes the partitions. A resumed run keeps those that it has.

    Args:
      run: Folder of the run.
      holders: The partitions.

    Raises:
      WriteError: If a file cannot be written.
    """
    folder = _folder(run)
    if (folder / f"{_WHOLE}.json").exists():
        return
    with durable_files.writing(folder):
        folder.parent.mkdir(durable_files.PRIVATE_FOLDER, exist_ok=True)
        folder.mkdir(durable_files.PRIVATE_FOLDER, exist_ok=True)
    for name in _PARTS:
        manifest.save_partition(getattr(holders.split, name), folder / f"{name}.json")
    manifest.save_partition(holders.whole, folder / f"{_WHOLE}.json")


def read(run: pathlib.Path, corpus: Corpus) -> Holders | None:
    """Returns the partitions of a run; None if the run has not begun or had another corpus.

    Args:
      run: Folder of the run.
      corpus: The training corpus.

    Raises:
      UserError: If a file is damaged.
    """
    folder = _folder(run)
    if not (folder / f"{_WHOLE}.json").exists():
        return None
    whole = manifest.load_partition(folder / f"{_WHOLE}.json")
    if whole.corpus_fingerprint != corpus.fingerprint:
        return None
    parts = {name: manifest.load_partition(folder / f"{name}.json", corpus) for name in _PARTS}
    dropped = whole.num_examples - sum(part.num_examples for part in parts.values())
    return Holders(whole, splits.ClientSplits(**parts, duplicates_left_out=dropped))


def _folder(run: pathlib.Path) -> pathlib.Path:
    return run / run_directory.PRIVATE / _FOLDER
