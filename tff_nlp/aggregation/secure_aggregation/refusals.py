"""How a half says no: it ignores one message, or it gives up the round."""

from tff_nlp import errors


class MessageRejectedError(errors.RunError):
    """One message is not authentic, not for this half, or not due now.

    The half is as it was before the message; the right message may still come.
    """


class SecureAggregationAborted(errors.RunError):  # noqa: N818 - an outcome of a round
    """The round cannot end without revealing more than a sum over enough clients.

    The half has forgotten its secrets and takes part in the session no more.
    """
