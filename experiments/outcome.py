"""What a run leaves behind: pictures, the exported model and result.json."""

import numpy as np

from experiments import confusion_picture, result
from tff_nlp.printable import printable
from tff_nlp.program import pictures, run_directory, training
from tff_nlp.serving import export
from tff_nlp.tasks import classification


def write(
    directory: run_directory.RunDirectory, outcome: training.Outcome, facts: result.Facts
) -> None:
    """Writes everything that a finished run leaves; result.json comes last."""
    print("saving    pictures and the model", flush=True)
    names = facts.data.train.label_names
    title = facts.data.title
    test = outcome.scores["test"]
    pictures.draw_curves(
        outcome.rows,
        directory.path / run_directory.CURVES,
        classification.REPORT.panels,
        title=title,
        baseline=test.majority_accuracy,
    )
    confusion_picture.draw_confusion(
        test.confusion, names, directory.path / confusion_picture.FILE, title=f"{title}: test"
    )
    fingerprint = export.export(
        directory.path / run_directory.MODEL,
        facts.model,
        [np.asarray(w) for w in facts.weights.trainable],
        [np.asarray(w) for w in facts.weights.non_trainable],
        names,
        facts.max_tokens,
        strip_prefix=facts.strip_prefix,
        info={
            "corpus": facts.data.train.name,
            "synthetic": facts.data.train.synthetic,
            "tokens": facts.tokens["train"].to_json(),
        },
    )
    values = result.build(outcome, facts)
    values["fingerprints"]["model"] = fingerprint
    directory.save_result(values)
    print("\n".join(result.summary(values)))
    print(
        f"saved     {printable(str(directory.path))}: result.json, curves.png, confusion.png, "
        "metrics.csv, model/",
        flush=True,
    )
