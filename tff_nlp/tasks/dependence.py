"""Why the loss of an example may depend on others: known before a model is built."""


def of_labels(logit_adjustment: float) -> str:
    """Returns what `Task.dependence` says of a classifier.

    Args:
      logit_adjustment: As for `classification.classification`.
    """
    if not logit_adjustment:
        return ""
    return (
        f"`logit_adjustment`={logit_adjustment:g}: a client's label frequencies depend on "
        "all its examples, and change every gradient when one of them changes; take 0"
    )
