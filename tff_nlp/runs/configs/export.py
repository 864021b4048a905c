"""The configuration of an export of a finished run."""

import dataclasses

from tff_nlp.runs import checks
from tff_nlp.runs.configs.reading import ReadingConfig
from tff_nlp.runs.options import option
from tff_nlp.serving import formats


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Run, format and output."""

    run: str = option("", "Folder of a finished run of a classifier.", path=True)
    to: str = option(
        "",
        "Format: savedmodel (the layout of TensorFlow Serving), huggingface, tflite or onnx.",
    )
    output: str = option("", "New folder for the exported model.", path=True)
    precision: str = option(
        formats.FLOAT32,
        "Type of the stored weights: float32; float16 (not savedmodel); int8 (tflite and onnx).",
        formats.PRECISIONS,
    )
    prune: float = option(
        0.0,
        "tflite and onnx: share of each matrix that becomes zero, the smallest weights first; the "
        "zeros are not stored.",
    )
    cache_dir: str = option(
        "",
        "Folder of token caches and downloaded corpora; empty: tff_nlp in $XDG_CACHE_HOME or "
        "~/.cache.",
        path=True,
    )

    def __post_init__(self) -> None:
        for name in ("run", "to", "output"):
            if not getattr(self, name):
                checks.refuse_missing(name)
        formats_known = f"one of {', '.join(formats.FORMATS)}"
        checks.check(self.to in formats.FORMATS, "to", self.to, formats_known)
        available = formats.AVAILABLE[self.to]
        if self.precision not in available:
            why = f"`to`={self.to} has {' and '.join(available)} only"
            checks.refuse("precision", self.precision, why)
        checks.check(0 <= self.prune < 1, "prune", self.prune, "at least 0 and below 1")
        if self.prune and self.to not in formats.PACKED:
            why = (
                f"a pruned model is smaller as {' or '.join(formats.PACKED)} only; other programs "
                f"read `to`={self.to} with all zeros"
            )
            checks.refuse("prune", self.prune, why)


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """A smaller model that learns from the run's model."""

    student_layers: int | None = option(
        None,
        "Number of transformer layers of a student that is exported instead; empty: no student.",
    )
    distill_corpus: str = option(
        "",
        "Texts that the student learns from, without labels; empty: the training texts of the run.",
        path=True,
    )
    distill_epochs: int = option(3, "Number of the student's passes over the texts.")
    distill_learning_rate: float = option(1e-4, "The student's step size (Adam).")
    distill_batch_size: int = option(32, "Number of texts in a batch of the student.")

    def __post_init__(self) -> None:
        checks.at_least(1, "student_layers", self.student_layers)
        checks.at_least(1, "distill_epochs", self.distill_epochs)
        checks.at_least(1, "distill_batch_size", self.distill_batch_size)
        checks.above_zero("distill_learning_rate", self.distill_learning_rate)
        for field in dataclasses.fields(StudentConfig):
            value = getattr(self, field.name)
            if self.student_layers is None and value != field.default:
                checks.refuse(field.name, value, "only `student_layers` uses it")


@dataclasses.dataclass(frozen=True)
class Export:
    """The whole configuration of an export.

    Attributes:
      what: Run, format and output.
      student: A smaller model that learns from the run's model.
      reading: Format of the student's texts.
    """

    what: ExportConfig
    student: StudentConfig = StudentConfig()
    reading: ReadingConfig = ReadingConfig()
