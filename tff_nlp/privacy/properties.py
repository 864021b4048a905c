"""Properties of an aggregator as plain values. They derive from flags or from an object."""

import dataclasses

from tff_nlp.privacy import names


@dataclasses.dataclass(frozen=True)
class Properties:
    """What an aggregator does with the clients' updates.

    `aggregator_properties.of` returns the properties of an object, `configured` those of flags.

    Attributes:
      mechanism: The mechanism that bounds each client's part and adds noise: one of
        `names.CLIENT_LEVEL`, or `names.OTHER`; `names.NONE` for an aggregator without privacy.
      clips: Whether it clips updates to a fixed norm without being a mechanism.
      coded_by: The argument that makes a client send something else than its numbers, as marked
        text; empty if it sends them.
      keeps_error: Whether a client keeps what this loses, and adds it to its next update.
      clips_decoded: Whether the server clips what it has decoded. Then it does not matter whether
        this makes an update longer.
      secure_sum: Whether updates are added up as integers by a secure sum.
      encrypted: Whether this sum is meant for encryption: its integers have the same step in all
        rounds, and no client needs to wait for others.
      sums_suffice: Whether it needs only the sum of the clients' values.
      takes_keys: Whether clients add the noise, each with its own key (`KeyedUpdate`).
      multiplies: The argument by which the server multiplies the factors of each client, as marked
        text; empty if it does not.
      robust: The argument by which the server compares the updates of clients with one another, as
        marked text; empty if it does not. All clients count the same then.
    """

    mechanism: str = names.NONE
    clips: bool = False
    coded_by: str = ""
    keeps_error: bool = False
    clips_decoded: bool = False
    secure_sum: bool = False
    encrypted: bool = False
    sums_suffice: bool = True
    takes_keys: bool = False
    multiplies: str = ""
    robust: str = ""

    @property
    def protects_clients(self) -> bool:
        """Whether it claims differential privacy for clients."""
        return self.mechanism != names.NONE

    @property
    def is_compressed(self) -> bool:
        """Whether a client leaves out more than the last bits of its numbers."""
        return self.coded_by.startswith("`compression`")

    @property
    def without_coding(self) -> str:
        """What to take for numbers as they are, as marked text."""
        return "`compression`=none" if self.is_compressed else "32 bits"


def configured(
    mechanism: str = names.NONE,
    *,
    coded_by: str = "",
    keeps_error: bool = False,
    secure_sum: bool = False,
    encrypted: bool = False,
    products: str = "",
    robust: str = "",
    clips: bool = False,
) -> Properties:
    """Returns the properties of the aggregator for these settings.

    Args:
      mechanism: One of `names.CLIENT_LEVEL`. All other values protect no clients.
      coded_by: See `Properties`.
      keeps_error: See `Properties`.
      secure_sum: Whether updates are added up by a secure sum.
      encrypted: See `Properties`.
      products: Name of the method by which the server multiplies the factors of each client; empty
        if it does not.
      robust: Name of the robust rule that compares updates; empty if there is none.
      clips: Whether updates are clipped to a fixed norm.
    """
    return Properties(
        mechanism=mechanism if mechanism in names.CLIENT_LEVEL else names.NONE,
        coded_by=coded_by,
        keeps_error=keeps_error,
        clips_decoded=bool(coded_by) and mechanism in names.CENTRAL,
        secure_sum=secure_sum or mechanism == names.DISTRIBUTED,
        encrypted=encrypted and mechanism != names.DISTRIBUTED,
        clips=clips,
        sums_suffice=not products and not robust,
        takes_keys=mechanism == names.DISTRIBUTED,
        multiplies=f"`lora_aggregation`={products}" if products else "",
        robust=f"`aggregator`={robust}" if robust else "",
    )
