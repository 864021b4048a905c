"""Files with many zero bytes, stored without them: a bit for each byte, and the other bytes.

A float whose value is zero has four zero bytes. Both parts are compressed, so that the four bits of
a float take the room of about one.
"""

import pathlib
import struct
import zlib

import numpy as np

from tff_nlp.errors import UserError

_MAGIC = b"tff_nlp packed/1\n"
# Numbers of bytes: of the file, and of both compressed parts.
_SIZES = struct.Struct("<QQQ")
_LEVEL = 6


def pack(content: bytes) -> bytes:
    """Returns the packed form of a file's content."""
    found = np.frombuffer(content, np.uint8)
    filled = found != 0
    parts = [zlib.compress(part.tobytes(), _LEVEL) for part in (np.packbits(filled), found[filled])]
    sizes = _SIZES.pack(len(content), *map(len, parts))
    return b"".join([_MAGIC, sizes, *parts])


def unpack(packed: bytes, path: pathlib.Path) -> bytes:
    """Returns the content that `pack` got.

    Args:
      packed: The packed form.
      path: Its file, for messages.

    Raises:
      UserError: If the packed form is damaged.
    """
    start = len(_MAGIC) + _SIZES.size
    try:
        if not packed.startswith(_MAGIC):
            raise ValueError("it does not begin as a packed file does")
        size, first, second = _SIZES.unpack(packed[len(_MAGIC) : start])
        if len(packed) != start + first + second:
            raise ValueError("it is not complete")
        bits = zlib.decompress(packed[start : start + first])
        values = zlib.decompress(packed[start + first :])
        filled = np.unpackbits(np.frombuffer(bits, np.uint8), count=size).astype(bool)
        content = np.zeros(size, np.uint8)
        content[filled] = np.frombuffer(values, np.uint8)
    except (ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{path.name}: cannot be unpacked ({error})") from error
    return content.tobytes()
