"""The two errors of a client or server: it rejects one message, or it gives up the round."""

from tff_nlp import errors


class MessageRejectedError(errors.RunError):
    """A message is not authentic, is for another party, or belongs to another step.

    The party that rejects it is unchanged and can still accept the right message.
    """


class SecureAggregationAborted(errors.RunError):  # noqa: N818 - an outcome of a round
    """The round cannot go on without revealing more than a sum over enough clients.

    The party has deleted its secrets and no longer takes part in the session.
    """
