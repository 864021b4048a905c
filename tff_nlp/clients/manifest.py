"""Partitions on disk: a readable JSON manifest and an array file. Loading verifies both."""

import hashlib
import io
import json
import os
import pathlib
from typing import Any

import numpy as np

from tff_nlp import durable_files
from tff_nlp.clients.partition import Partition, pack_names, unpack_names
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError, message

_FORMAT = "tff_nlp partition"
_VERSION = 1


def save_partition(partition: Partition, path: str | os.PathLike[str]) -> None:
    """Writes a JSON manifest at `path` and its arrays next to it (`<stem>.<checksum>.npz`).

    The arrays are written first, and the manifest is renamed into place last. So the path always
    holds either the old manifest or the new one, each with its own arrays.

    Args:
      partition: The partition to save.
      path: Path of the manifest, for example "run/partition.json".

    Raises:
      UserError: If the folder cannot be made.
      WriteError: If a file cannot be written.
    """
    manifest = pathlib.Path(path)
    arrays = manifest.with_name(f"{manifest.stem}.{partition.checksum[:12]}.npz")
    names, name_offsets = pack_names(partition.client_ids)
    stream = io.BytesIO()
    np.savez(
        stream,
        names=names,
        name_offsets=name_offsets,
        offsets=partition.offsets,
        rows=partition.rows,
    )
    try:
        manifest.parent.mkdir(parents=True, exist_ok=True)
        previous = _arrays_of(manifest)
        _replace(arrays, stream.getvalue())
        header = _header(partition, arrays.name, hashlib.sha256(stream.getvalue()).hexdigest())
        text = json.dumps(header, indent=2, ensure_ascii=False)
        _replace(manifest, (text + "\n").encode("utf-8", "surrogatepass"))
        if previous is not None and previous != arrays and previous.suffix == ".npz":
            previous.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{manifest}: cannot save the partition: {error.strerror}") from error


def load_partition(path: str | os.PathLike[str], corpus: Corpus | None = None) -> Partition:
    """Reads and verifies a partition.

    Args:
      path: Path of the manifest.
      corpus: The corpus to which the partition must belong. None for no check.

    Returns:
      The partition, equal to the saved one.

    Raises:
      UserError: If a file is missing or damaged, or the partition belongs to another corpus.
    """
    manifest = pathlib.Path(path)
    header = _read_header(manifest)
    stored = _read_arrays(manifest, header)
    try:
        partition = Partition(
            client_ids=unpack_names(stored["names"], stored["name_offsets"]),
            offsets=stored["offsets"],
            rows=stored["rows"],
            kind=header["kind"],
            parameters=header["parameters"],
            seed=header["seed"],
            corpus_fingerprint=header["corpus"]["fingerprint"],
            corpus_examples=header["corpus"]["examples"],
            left_out_clients=header["left_out_clients"],
            unattributed_examples=header["unattributed_examples"],
            moved_examples=header["moved_examples"],
        )
        checksum = partition.checksum
    except (KeyError, IndexError, TypeError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else message(error)
        raise UserError(f"{manifest}: damaged partition manifest: {reason}") from error
    if checksum != header["checksum"]:
        raise UserError(
            f"{manifest}: damaged partition manifest: its contents do not match its checksum"
        )
    if corpus is not None:
        verify_partition(partition, corpus, str(manifest))
    return partition


def verify_partition(partition: Partition, corpus: Corpus, source: str = "`partition`") -> None:
    """Checks that a partition belongs to a corpus.

    Args:
      partition: The partition.
      corpus: The corpus.
      source: Flag or file of the partition, with which the message begins.

    Raises:
      UserError: If the partition belongs to another corpus.
    """
    if partition.corpus_fingerprint != corpus.fingerprint:
        raise UserError(
            f"{source}: the partition was made for another corpus ({partition.corpus_examples} "
            f"examples, fingerprint {partition.corpus_fingerprint[:12]}) than {corpus.name} "
            f"({len(corpus)} examples, fingerprint {corpus.fingerprint[:12]})"
        )


def _replace(target: pathlib.Path, data: bytes) -> None:
    """Replaces a file. The path always holds the complete old or the complete new content."""
    with durable_files.replacing(target) as stream:
        stream.write(data)


def _header(partition: Partition, arrays: str, digest: str) -> dict[str, Any]:
    sizes = partition.sizes
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "kind": partition.kind,
        "parameters": dict(partition.parameters),
        "seed": partition.seed,
        "corpus": {
            "fingerprint": partition.corpus_fingerprint,
            "examples": partition.corpus_examples,
        },
        "clients": partition.num_clients,
        "examples": partition.num_examples,
        "examples_per_client": {
            "min": int(sizes.min()) if len(sizes) else 0,
            "median": float(np.median(sizes)) if len(sizes) else 0.0,
            "max": int(sizes.max(initial=0)),
        },
        "left_out_clients": partition.left_out_clients,
        "left_out_examples": partition.left_out_examples,
        "unattributed_examples": partition.unattributed_examples,
        "moved_examples": partition.moved_examples,
        "arrays": arrays,
        "arrays_sha256": digest,
        "checksum": partition.checksum,
    }


def _read_header(manifest: pathlib.Path) -> dict[str, Any]:
    try:
        header = json.loads(manifest.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{manifest}: cannot read the partition: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{manifest}: not a partition manifest: it is not JSON") from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise UserError(f"{manifest}: not a partition manifest")
    if header.get("version") != _VERSION:
        raise UserError(
            f"{manifest}: partition manifest of version {header.get('version')}, this program "
            f"reads version {_VERSION}"
        )
    for key in ("arrays", "arrays_sha256", "checksum"):
        if not isinstance(header.get(key), str):
            raise UserError(f"{manifest}: damaged partition manifest: lacks {key!r}")
    return header


def _read_arrays(manifest: pathlib.Path, header: dict[str, Any]) -> dict[str, np.ndarray]:
    path = manifest.with_name(pathlib.PurePath(header["arrays"]).name)
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise UserError(f"{manifest}: its array file {path.name} {reason}") from error
    if hashlib.sha256(data).hexdigest() != header["arrays_sha256"]:
        raise UserError(f"{manifest}: its array file {path.name} is damaged (checksum differs)")
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {key: stored[key] for key in ("names", "name_offsets", "offsets", "rows")}


def _arrays_of(manifest: pathlib.Path) -> pathlib.Path | None:
    """Returns the array file of an existing manifest, or None if there is no valid manifest."""
    try:
        return manifest.with_name(pathlib.PurePath(_read_header(manifest)["arrays"]).name)
    except UserError:
        return None
