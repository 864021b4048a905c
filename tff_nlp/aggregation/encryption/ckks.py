"""Sums of integers under CKKS encryption, by TenSEAL.

Cheon et al. 2017, "Homomorphic Encryption for Arithmetic of Approximate Numbers". The key holder,
who is neither the server nor a client, makes the keys. Clients have the public key and encrypt. The
server has no key; it adds ciphertexts, and gives the sum to the key holder, who decrypts it.

CKKS adds an error to what it decrypts, from which the secret key can be computed (Li and Micciancio
2021, "On the Security of Homomorphic Encryption on Approximate Numbers"). Here the error is far
below the step of the integers. So the key holder rounds to the exact sum, and no error gets out.
"""

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tff_nlp import errors

# 128 bits of security allow 218 bits for this degree (Homomorphic Encryption Standard, table 1).
DEGREE = 8192
_PRIMES = [60, 60, 60]
_SCALE = 2.0**70
# Numbers in a ciphertext.
SLOTS = DEGREE // 2
MISSING = "TenSEAL is not installed; EXTRAS=ckks scripts/setup adds it"
# Bytes of a ciphertext: two polynomials of 64-bit numbers modulo two primes, and a header.
CIPHERTEXT_BYTES = 2 * DEGREE * 2 * 8 + 148
# The distance between two numbers that differ by 1 as integers.
STEP = 2.0**-24
# Larger sums might not be exact, since CKKS computes in double precision.
LARGEST_SUM = 2**47


def overhead(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Returns the bytes that a client sends and receives in addition to packed integers.

    Args:
      sizes: The number of integers and the number of packed bytes of each vector.
    """
    entries, packed = (sum(part) for part in zip(*sizes, strict=True))
    return ciphertexts(entries) * CIPHERTEXT_BYTES - packed, 0


def ciphertexts(entries: int) -> int:
    """Returns the number of ciphertexts for so many integers."""
    return math.ceil(entries / SLOTS)


def load() -> Any:
    """Returns the module of TenSEAL.

    Raises:
      UserError: If it is not installed.
    """
    try:
        import tenseal
    except ImportError as error:
        raise errors.UserError(f"`secure_aggregation`=ckks: {MISSING}") from error
    return tenseal


class KeyHolder:
    """The party that decrypts sums. It must not work together with the server.

    It cannot see whether what it decrypts is a sum of many clients.
    """

    def __init__(self) -> None:
        """Makes a new pair of keys."""
        library = load()
        self._context = library.context(
            library.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=_PRIMES
        )
        self._context.global_scale = _SCALE

    def for_clients(self) -> bytes:
        """Returns the parameters and the public key."""
        return self._serialize(save_public_key=True)

    def for_server(self) -> bytes:
        """Returns the parameters."""
        return self._serialize(save_public_key=False)

    def decrypt(self, sums: Sequence[bytes]) -> np.ndarray:
        """Returns the exact sums of the integers, int64[len(sums) * SLOTS].

        Raises:
          RunError: If a sum is too large to be exact.
        """
        read = load().ckks_vector_from
        numbers = [read(self._context, part).decrypt() for part in sums]
        integers = np.rint(np.concatenate(numbers) / STEP)
        if np.abs(integers).max() > LARGEST_SUM:
            raise errors.RunError("an encrypted sum is beyond 2^47, where it would not be exact")
        return integers.astype(np.int64)

    def _serialize(self, *, save_public_key: bool) -> bytes:
        return self._context.serialize(
            save_public_key=save_public_key,
            save_secret_key=False,
            save_galois_keys=False,
            save_relin_keys=False,
        )


class Client:
    """A party that encrypts."""

    def __init__(self, context: bytes) -> None:
        """Initializes a client.

        Args:
          context: Result of `KeyHolder.for_clients`.
        """
        self._context = load().context_from(context)

    def encrypt(self, integers: np.ndarray) -> list[bytes]:
        """Returns the ciphertexts of integers.

        Args:
          integers: int64 of one axis.
        """
        padded = np.zeros(ciphertexts(len(integers)) * SLOTS)
        padded[: len(integers)] = integers * STEP
        vector = load().ckks_vector
        return [vector(self._context, part).serialize() for part in padded.reshape(-1, SLOTS)]


class Server:
    """A party that adds up what it cannot read. Several threads may add."""

    def __init__(self, context: bytes) -> None:
        """Initializes a server.

        Args:
          context: Result of `KeyHolder.for_server`.
        """
        self._context = load().context_from(context)
        self._sums: list[Any] = []
        self._lock = threading.Lock()

    def add(self, sent: Sequence[bytes]) -> None:
        """Adds the ciphertexts of a client.

        Raises:
          ValueError: If it is another number of ciphertexts than the other clients sent.
        """
        read = load().ckks_vector_from
        with self._lock:
            if not self._sums:
                self._sums = [read(self._context, part) for part in sent]
                return
            if len(self._sums) != len(sent):
                raise ValueError(f"a client sent {len(sent)} ciphertexts, not {len(self._sums)}")
            for total, part in zip(self._sums, sent, strict=True):
                total += read(self._context, part)

    def total(self) -> list[bytes]:
        """Returns the ciphertexts of the sums."""
        return [part.serialize() for part in self._sums]


@dataclasses.dataclass
class Costs:
    """What a round cost. Seconds are processor time of the working threads.

    Attributes:
      client_bytes: Bytes that each client sent, in the order of their inputs.
      client_seconds: Seconds of each client.
      server_seconds: Seconds of the server.
      holder_seconds: Seconds of the key holder.
    """

    client_bytes: list[int] = dataclasses.field(default_factory=list)
    client_seconds: list[float] = dataclasses.field(default_factory=list)
    server_seconds: float = 0.0
    holder_seconds: float = 0.0


class Round:
    """One round in one process, with the interface of `execution.secure_sums.Summation`.

    Use it for simulations and measurements. The parties exchange bytes only.

    Attributes:
      costs: The costs so far.
    """

    def __init__(self, holder: KeyHolder, vectors: Iterable[tuple[int, int]]) -> None:
        """Begins a round.

        Args:
          holder: The key holder.
          vectors: The number of integers and the modulus of each vector to sum.
        """
        self._vectors = list(vectors)
        self._holder, self._clients = holder, holder.for_clients()
        self._server = Server(holder.for_server())
        self.costs = Costs()

    def add_input(self, client: int, tensors: Sequence[np.ndarray]) -> None:
        """Encrypts the integers of a client, and adds them to the sums.

        Args:
          client: Position of the client. The server does not need it.
          tensors: One flat integer array per vector.
        """
        del client
        signed = [
            centred(np.asarray(tensor).astype(np.int64), modulus)
            for tensor, (_, modulus) in zip(tensors, self._vectors, strict=True)
        ]
        encrypt = Client(self._clients).encrypt
        sent, seconds = _timed(lambda: encrypt(np.concatenate(signed)))
        self.costs.client_bytes.append(sum(map(len, sent)))
        self.costs.client_seconds.append(seconds)
        _, seconds = _timed(lambda: self._server.add(sent))
        self.costs.server_seconds += seconds

    def finish(self) -> list[np.ndarray]:
        """Returns the sums, int64 from 0 to modulus - 1 for each vector.

        Raises:
          RunError: If a sum of the numbers nearest to zero is too large to be exact.
        """
        total, seconds = _timed(self._server.total)
        self.costs.server_seconds += seconds
        sizes = [size for size, _ in self._vectors]
        if not total:
            return [np.zeros(size, np.int64) for size in sizes]
        sums, self.costs.holder_seconds = _timed(lambda: self._holder.decrypt(total))
        parts = np.split(sums[: sum(sizes)], np.cumsum(sizes)[:-1])
        return [part % modulus for part, (_, modulus) in zip(parts, self._vectors, strict=True)]


def centred(integers: np.ndarray, modulus: int) -> np.ndarray:
    """Returns integers modulo a modulus, nearest to zero.

    Args:
      integers: int64.
      modulus: The modulus.
    """
    half = modulus // 2
    return (integers + half) % modulus - half


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.thread_time()
    return call(), time.thread_time() - began
