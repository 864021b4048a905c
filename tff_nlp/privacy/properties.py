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
      rounded_by: The argument that rounds numbers at random after clipping, as marked text; empty
        without rounding.
      secure_sum: Whether updates are added up as integers by a secure sum.
      sums_suffice: Whether it needs only the sum of the clients' values.
      takes_keys: Whether clients add the noise, each with its own key (`KeyedUpdate`).
      multiplies: The argument by which the server multiplies the factors of each client, as marked
        text; empty if it does not.
      robust: The argument by which the server compares the updates of clients with one another, as
        marked text; empty if it does not. All clients count the same then.
    """

    mechanism: str = names.NONE
    clips: bool = False
    rounded_by: str = ""
    secure_sum: bool = False
    sums_suffice: bool = True
    takes_keys: bool = False
    multiplies: str = ""
    robust: str = ""

    @property
    def protects_clients(self) -> bool:
        """Whether it claims differential privacy for clients."""
        return self.mechanism != names.NONE


def configured(
    mechanism: str = names.NONE,
    *,
    upload_bits: int | None = None,
    secure_sum: bool = False,
    products: str = "",
    robust: str = "",
    clips: bool = False,
) -> Properties:
    """Returns the properties of the aggregator for these settings.

    Args:
      mechanism: One of `names.CLIENT_LEVEL`. All other values protect no clients.
      upload_bits: Number of bits in which a client sends each number; None for no rounding.
      secure_sum: Whether updates are added up by a secure sum.
      products: Name of the method by which the server multiplies the factors of each client; empty
        if it does not.
      robust: Name of the robust rule that compares updates; empty if there is none.
      clips: Whether updates are clipped to a fixed norm.
    """
    return Properties(
        mechanism=mechanism if mechanism in names.CLIENT_LEVEL else names.NONE,
        rounded_by="" if upload_bits is None else f"`upload_bits`={upload_bits}",
        secure_sum=secure_sum or mechanism == names.DISTRIBUTED,
        clips=clips,
        sums_suffice=not products and not robust,
        takes_keys=mechanism == names.DISTRIBUTED,
        multiplies=f"`lora_aggregation`={products}" if products else "",
        robust=f"`aggregator`={robust}" if robust else "",
    )
