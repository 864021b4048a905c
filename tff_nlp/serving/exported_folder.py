"""Folders of models in other formats than SavedModel: one file of weights, and info.json.

info.json has the SHA-256 of each other file. A file that was cut or changed is found before it is
loaded.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tff_nlp import durable_files
from tff_nlp.errors import UserError, setting, verbatim
from tff_nlp.models import huggingface
from tff_nlp.models.tokenizer import Tokenizer
from tff_nlp.models.vocabulary import load_vocabulary, vocabulary_text
from tff_nlp.models.words import WordRules
from tff_nlp.serving import model_folder, packed_file, saved_models, tokenizer_json
from tff_nlp.serving.plain_bert import PlainBert

_FILES, _CONTENT = "files", "content_sha256"


@dataclasses.dataclass(frozen=True, eq=False)
class Exported:
    """What a folder says about its model.

    Attributes:
      content: The model's file, unpacked.
      tokenizer: The tokenizer.
      label_names: Names of the labels, in index order.
      max_tokens: Maximum number of tokens, including [CLS] and [SEP]. Longer texts are cut.
      strip_prefix: Prefix to remove once from the start of each text.
      reads_pairs: Whether the model labels pairs of texts.
    """

    content: bytes = dataclasses.field(repr=False)
    tokenizer: Tokenizer
    label_names: tuple[str, ...]
    max_tokens: int
    strip_prefix: str
    reads_pairs: bool


@contextlib.contextmanager
def writing(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new folder. When the block ends without an error, it is renamed to `folder`.

    Args:
      folder: The folder. It must not exist.

    Raises:
      WriteError: If the folder cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with durable_files.writing(folder):
            partial.mkdir(parents=True)
            yield partial
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write(
    folder: pathlib.Path,
    bert: PlainBert,
    name: str,
    content: bytes,
    info: Mapping[str, Any],
    serving_code: Sequence[str],
    *,
    packed: bool,
) -> None:
    """Writes the model's file, its vocabulary, tokenizer.json and info.json into a folder.

    Args:
      folder: An existing folder.
      bert: The classifier.
      name: Name of the model's file.
      content: Content of the model's file.
      info: Further entries for info.json.
      serving_code: Code that computes `logits` with the file from `inputs` (int64 arrays by name).
      packed: Whether the model's file is stored without its zeros, see `packed_file`.
    """
    if packed:
        stored = folder / f"{name}{model_folder.PACKED}"
        stored.write_bytes(packed_file.pack(content))
    else:
        (folder / name).write_bytes(content)
    write_vocabulary(folder, bert.tokenizer)
    tokenizer = tokenizer_json.describe(bert.tokenizer, bert.max_tokens)
    write_json(folder / tokenizer_json.FILE, tokenizer)
    digests = {path.name: digest(path.read_bytes()) for path in sorted(folder.iterdir())}
    entries = {
        "label_names": list(bert.label_names),
        "max_tokens": bert.max_tokens,
        "strip_prefix": bert.strip_prefix,
        "reads_pairs": bert.reads_pairs,
        "tokenizer": {
            "fingerprint": bert.tokenizer.fingerprint,
            **dataclasses.asdict(bert.tokenizer.rules),
        },
        **({} if packed else {"serving_code": _code(bert, serving_code)}),
        **info,
        _FILES: digests,
        _CONTENT: digest(content),
    }
    write_json(folder / saved_models.INFO_FILE, entries)


def _tokenizing_code(bert: PlainBert) -> list[str]:
    """Returns code for info.json that computes `inputs`, the int64 arrays that the model reads.

    Args:
      bert: The classifier.
    """
    example = "('Not bad at all.', 'It is good.')" if bert.reads_pairs else "'Not bad at all.'"
    names = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    read = [
        f"'{name}': numpy.array([text.{names[name]} for text in encoded])"
        for name in huggingface.INPUTS[: 3 if bert.reads_pairs else 2]
    ]
    return [
        "import json, numpy, tokenizers",
        f"texts = [{example}]",
        *(
            f"# Before: {rule}"
            for rule in tokenizer_json.left_out(bert.tokenizer, bert.strip_prefix)
        ),
        f"encoded = tokenizers.Tokenizer.from_file('{tokenizer_json.FILE}').encode_batch(texts)",
        f"inputs = {{{', '.join(read)}}}",
        f"names = json.load(open('{saved_models.INFO_FILE}', encoding='utf-8'))['label_names']",
    ]


def read(folder: pathlib.Path, name: str, flag: str) -> Exported:
    """Returns the content of a folder that `write` wrote.

    Args:
      folder: The folder.
      name: Name of the model's file.
      flag: Flag that named the folder, for messages.

    Raises:
      UserError: If a file is missing, cut, changed or damaged.
    """
    place = setting(flag, folder)
    info = _read_info(folder / saved_models.INFO_FILE, place)
    try:
        digests = dict(info[_FILES])
        rules = {
            field.name: info["tokenizer"][field.name] for field in dataclasses.fields(WordRules)
        }
        label_names = tuple(map(str, info["label_names"]))
        max_tokens, strip_prefix = int(info["max_tokens"]), str(info["strip_prefix"])
        reads_pairs = bool(info["reads_pairs"])
        content_digest = info[_CONTENT]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{place}: {saved_models.INFO_FILE} is damaged at {verbatim(error)}"
        ) from error
    packed = f"{name}{model_folder.PACKED}"
    stored = name if name in digests else packed
    content, _ = (
        _checked(folder / file, digests.get(file), place)
        for file in (stored, huggingface.VOCABULARY)
    )
    if stored == packed:
        try:
            content = packed_file.unpack(content, folder / stored)
        except UserError as error:
            raise UserError(f"{place}: {error.marked}") from error
        if digest(content) != content_digest:
            raise UserError(f"{place}: {packed}: has another content than when it was written")
    vocabulary = load_vocabulary(folder / huggingface.VOCABULARY, flag=place)
    tokenizer = Tokenizer(vocabulary, WordRules(**rules))
    if tokenizer.fingerprint != info["tokenizer"].get("fingerprint"):
        raise UserError(f"{place}: {saved_models.INFO_FILE} is damaged at 'tokenizer'")
    return Exported(content, tokenizer, label_names, max_tokens, strip_prefix, reads_pairs)


def _code(bert: PlainBert, serving_code: Sequence[str]) -> list[str]:
    last = "print([names[label] for label in logits.argmax(axis=1)])"
    return [*_tokenizing_code(bert), *serving_code, last]


def _checked(path: pathlib.Path, expected: str | None, place: str) -> bytes:
    """Returns the content of a file, if it has the digest of info.json."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{place}: {path.name}: {error.strerror or error}") from error
    if digest(content) != expected:
        raise UserError(
            f"{place}: {path.name} is cut or changed: its SHA-256 is not the one in "
            f"{saved_models.INFO_FILE}"
        )
    return content


def _read_info(path: pathlib.Path, place: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{place}: {path.name} cannot be read ({verbatim(error)})") from error
    if not isinstance(value, dict):
        raise UserError(f"{place}: {path.name} cannot be read (it is no JSON object)")
    return value


def write_vocabulary(folder: pathlib.Path, tokenizer: Tokenizer) -> None:
    """Writes the vocabulary of a tokenizer as vocab.txt."""
    vocabulary = vocabulary_text(tokenizer.vocabulary)
    (folder / huggingface.VOCABULARY).write_text(vocabulary, encoding="utf-8", newline="")


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file that a person can read."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def digest(content: bytes) -> str:
    """Returns a SHA-256 hash (hexadecimal)."""
    return hashlib.sha256(content).hexdigest()
