"""Integers and byte strings in messages: little-endian, fixed width, with checks of the length."""

from tff_nlp.aggregation.secure_aggregation import refusals


def u32(value: int) -> bytes:
    """Returns an unsigned integer as 4 bytes."""
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    """Returns an unsigned integer as 8 bytes."""
    return value.to_bytes(8, "little")


class Reader:
    """Reads bytes from the front. Methods raise MessageRejectedError if there are too few bytes."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)

    def take(self, size: int) -> bytes:
        """Returns the next `size` bytes."""
        if size > len(self._data):
            raise refusals.MessageRejectedError("a message is too short")
        taken, self._data = self._data[:size], self._data[size:]
        return bytes(taken)

    def u32(self) -> int:
        """Returns the next 4 bytes as an unsigned integer."""
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        """Returns the next 8 bytes as an unsigned integer."""
        return int.from_bytes(self.take(8), "little")

    def count(self, item_bytes: int) -> int:
        """Returns the next 4 bytes as a number of items, if so many items can follow.

        Args:
          item_bytes: Minimum size of an item in bytes.
        """
        number = self.u32()
        if number * item_bytes > len(self._data):
            raise refusals.MessageRejectedError("a message is too short")
        return number

    def end(self) -> None:
        """Checks that no bytes are left.

        Raises:
          MessageRejectedError: If bytes are left.
        """
        if len(self._data):
            raise refusals.MessageRejectedError("a message is too long")
