"""Returns memory that was freed to the operating system."""

import ctypes
from collections.abc import Callable


def _trimmer() -> Callable[[int], int]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):  # The C library is not glibc.
        return lambda _: 0


_trim = _trimmer()


def give_back() -> None:
    """Returns freed memory to the operating system.

    A round allocates and frees large tensors in several threads. glibc keeps the freed pieces, and
    new tensors do not always fit into them. So without this call the memory of a program grows over
    the first rounds, by one to three copies of the model's weights.
    """
    _trim(0)
