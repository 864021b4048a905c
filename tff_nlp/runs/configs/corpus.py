"""The corpora for training and testing."""

import dataclasses

from tff_nlp.corpora import source
from tff_nlp.runs import checks
from tff_nlp.runs.configs.reading import LabelledReadingConfig
from tff_nlp.runs.configs.task import TaskConfig
from tff_nlp.runs.configs.task_names import LANGUAGE_MODEL, PAIRS
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class CorpusConfig(TaskConfig, LabelledReadingConfig):
    """Corpora for training and testing."""

    corpus: str = option(
        "synthetic",
        "A file, a glob pattern, a LEAF folder, or a name: synthetic, vader, or a name of TFDS.",
        path=True,
    )
    test_corpus: str = option(
        "", "Test corpus, in the format of `corpus`; empty: the test part of `corpus`.", path=True
    )
    test_fraction: float = option(0.2, "Share of `corpus` for testing, if it has no test part.")
    client_column: str = option("", "Column of author, domain or other group; also @stem, @folder.")
    test_label_file: str = option("", "Label file of `test_corpus`.", path=True)
    missing_client: str = option(
        "bad_row",
        "Rows without a `client_column` value. bad_row: see `bad_rows`; own: a client of its own.",
        source.MISSING_CLIENTS,
    )
    keep_overlap: bool = option(False, "Keep training texts that are also in the test corpus.")
    max_train_examples: int | None = option(
        None, "Train on this number of random examples; empty: all."
    )
    max_test_examples: int | None = option(
        None, "Test on this number of random examples; empty: all."
    )
    tfds_data_dir: str = option("", "Folder of TensorFlow Datasets.", path=True)
    negative_at_most: float = option(
        source.NEGATIVE_AT_MOST, "vader: highest mean rating of a negative sentence, from -4 to 4."
    )
    positive_at_least: float = option(
        source.POSITIVE_AT_LEAST, "vader: lowest mean rating of a positive sentence, from -4 to 4."
    )

    def __post_init__(self) -> None:
        checks.check(
            0 < self.test_fraction < 1, "test_fraction", self.test_fraction, "between 0 and 1"
        )
        checks.at_least(1, "max_train_examples", self.max_train_examples)
        checks.at_least(1, "max_test_examples", self.max_test_examples)
        second = self.second_text_column
        if self.task == PAIRS and not second:
            checks.refuse("task", PAIRS, "give `second_text_column`, the other text of a row")
        if self.task != PAIRS and second:
            checks.refuse("second_text_column", second, "only `task`=pairs reads it")
        if self.task == LANGUAGE_MODEL:
            for name in ("label_column", "label_map", "label_file", "test_label_file"):
                value = getattr(self, name)
                if value:
                    checks.refuse(name, value, f"`task`={LANGUAGE_MODEL} reads no labels")
