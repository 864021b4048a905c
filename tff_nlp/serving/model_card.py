"""The model card of an exported model: its data, its scores, and its statement of privacy."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from tff_nlp.serving import tokenizer_json
from tff_nlp.serving.plain_bert import PlainBert

_CODE = {
    "BertForSequenceClassification": """\
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForSequenceClassification.from_pretrained(".").eval()
batch = tokenizer({texts}, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**batch).logits
print([model.config.id2label[int(label)] for label in logits.argmax(1)])
""",
    "BertForTokenClassification": """\
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForTokenClassification.from_pretrained(".").eval()
batch = tokenizer({texts}, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    of_tokens = model(**batch).logits
mask = batch["attention_mask"].unsqueeze(2)
logits = (of_tokens * mask).sum(1) / mask.sum(1)
print([model.config.id2label[int(label)] for label in logits.argmax(1)])
""",
}
_MEAN = (
    "The model labels a text by the mean of the logits of its tokens. So it is a "
    "BertForTokenClassification, and the last lines below compute the mean. "
    'The pipeline "text-classification" cannot load it.'
)
_SCORES = ("accuracy", "macro_f1", "loss", "majority_accuracy", "examples")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a model card says about a run.

    Attributes:
      result: Content of the run's result.json.
      privacy: The run's statement of privacy.
      student_layers: Number of layers of the student that is exported; None for the run's model.
    """

    result: Mapping[str, Any]
    privacy: Mapping[str, Any]
    student_layers: int | None = None


def text(bert: PlainBert, facts: Facts, architecture: str) -> str:
    """Returns the content of README.md, Markdown with a YAML header.

    Args:
      bert: The classifier.
      facts: What it says about the run.
      architecture: Name of the class in transformers.
    """
    parts = [
        "---\nlibrary_name: transformers\ntags:\n- bert\n- federated-learning\n---",
        "# A text classifier, trained with tff_nlp",
        f"Architecture: {architecture}, {bert.layers} layers of width {bert.width}, "
        f"{bert.pooling} pooling. It reads "
        f"{'pairs of texts' if bert.reads_pairs else 'single texts'} of at most {bert.max_tokens} "
        f"tokens. Labels: {', '.join(_code(name) for name in bert.label_names)}.",
        *([_MEAN] if bert.pooling == "mean" else []),
        *(
            f"Before the model reads a text: {rule}."
            for rule in tokenizer_json.left_out(bert.tokenizer, bert.strip_prefix)
        ),
        f"## Use\n\n```python\n{_CODE[architecture].format(texts=_example(bert))}```",
        f"## Data\n\n{_data(facts.result)}",
        f"## Scores\n\n{_scores(facts)}",
        f"## Privacy\n\n{_privacy(facts.privacy)}",
    ]
    return "\n\n".join(parts) + "\n"


def _example(bert: PlainBert) -> str:
    return '["Not bad at all."], ["It is good."]' if bert.reads_pairs else '["Not bad at all."]'


def _data(result: Mapping[str, Any]) -> str:
    config = result["config"]
    corpus = pathlib.PurePath(str(config.get("corpus", ""))).name
    texts = result.get("tokens", {}).get("train", {}).get("texts")
    size = f", {texts:,} training texts" if isinstance(texts, int) else ""
    synthetic = " The texts are synthetic." if result.get("synthetic") else ""
    rounds = f"{result['rounds']:,} {'rounds' if 'partition' in config else 'epochs'}"
    return f"Corpus: {_code(corpus)}{size}. Trained for {rounds}.{synthetic}"


def _scores(facts: Facts) -> str:
    lines = ["| test set | |", "|---|---|"]
    scores = facts.result["test"]
    lines += [f"| {name} | {_number(scores[name])} |" for name in _SCORES if name in scores]
    whose = "The scores are those of the run's model on its test texts, without noise."
    if facts.student_layers is not None:
        whose += f" This model is a student of it with {facts.student_layers} layers, not scored."
    return "\n".join([*lines, "", whose])


def _privacy(privacy: Mapping[str, Any]) -> str:
    """Returns the statement. The scores above are not part of what epsilon covers."""
    statement = [privacy["line"]]
    if "student" in privacy:
        statement.append(f"Also: {privacy['student']}.")
    return "\n\n".join([*statement, "The statement covers the weights, not the scores above."])


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _code(value: str) -> str:
    """Returns a text of the user as one line of Markdown that is shown as it is."""
    return f"`{json.dumps(value, ensure_ascii=False)[1:-1].replace('`', chr(39))}`"
