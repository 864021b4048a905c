"""The task of sentence pairs: one label per pair, such as whether the first entails the second.

A pair is one row of token ids, [CLS] first [SEP] second [SEP] (Devlin et al. 2019, "BERT", figure
4a). Segment ids are computed from the token ids. So batches, losses, metrics and scores are the
same as for classification.
"""

import dataclasses

from tff_nlp.models import classifier
from tff_nlp.tasks import classification, task


def pairs(model: classifier.Classifier, *, logit_adjustment: float = 0.0) -> task.Task:
    """Returns the task of a classifier of pairs of texts.

    Args:
      model: The classifier, built with `pairs=True`.
      logit_adjustment: As in `classification.classification`.

    Raises:
      UserError: If the adjustment is negative or not finite.
      ValueError: If the classifier reads single texts.
    """
    if not model.reads_pairs:
        raise ValueError("the classifier reads single texts: build it with pairs=True")
    labelled = classification.classification(model, logit_adjustment=logit_adjustment)
    return dataclasses.replace(labelled, name="pairs")
