"""NVFlare's example of LoRA on sentences about finance, with three clients."""

from tff_nlp.runs import paper
from tff_nlp.runs.paper import Change

PAPER = paper.Paper(
    title="NVFlare: LoRA on the Financial PhraseBank with three clients",
    citation=(
        "NVIDIA FLARE, integration/nemo/examples/peft, https://github.com/NVIDIA/NVFlare; the "
        "corpus is Malo et al. 2014."
    ),
    source="the example's README: .4031 at first, .8454 after three rounds",
    settings={
        "corpus": "FinancialPhraseBank-v1.0/Sentences_50Agree.txt",
        "format": "csv",
        "delimiter": "@",
        "header": False,
        "quoting": "none",
        "text_column": "0",
        "label_column": "1",
        "encoding": "latin-1",
        "encoder": "GPT with 345 million weights",
        "adapter": "lora",
        "lora_rank": 8,
        "partition": "dirichlet",
        "dirichlet_alpha": 10.0,
        "num_clients": 3,
        "clients_per_round": 3,
        "rounds": 3,
    },
    files=(
        paper.File(
            "FinancialPhraseBank-v1.0/Sentences_50Agree.txt",
            "FinancialPhraseBank-v1.0.zip of "
            "https://huggingface.co/datasets/takala/financial_phrasebank",
        ),
    ),
    tables=(
        paper.Table(
            title="Accuracy of the global model",
            rows="method",
            columns="after",
            unit="accuracy in %",
            digits=2,
            compares="",
            cells=(
                paper.Cell(
                    "LoRA, rank 8",
                    "3 rounds",
                    84.54,
                    changes=(
                        Change("client_test_fraction", 0.0, "clients keep nothing for tests"),
                        Change("bad_rows", "skip", "a line may have several separators"),
                    ),
                ),
                paper.Cell(
                    "the most frequent label",
                    "3 rounds",
                    changes=(
                        Change("client_test_fraction", 0.0, "clients keep nothing for tests"),
                        Change("bad_rows", "skip", "a line may have several separators"),
                    ),
                    value=lambda result: 100 * float(result["test"]["majority_accuracy"]),
                ),
            ),
        ),
    ),
    departures=(
        paper.Departure(
            "what the model gives",
            "the model writes the word of the label",
            "the model has three outputs",
            "an encoder with a head is a classifier",
        ),
        paper.Departure(
            "test rows",
            "its own split",
            "a random fifth, another one for each seed",
            "the example's split is made by a script with other rows",
        ),
        paper.Departure(
            "accuracy before training",
            ".4031",
            "not computed",
            "a run is scored after its rounds",
        ),
    ),
    scales={
        "smoke": paper.Scale(
            (*paper.SMOKE, Change("max_tokens", 16, "a short path")), (0,), "a minute"
        ),
        "small": paper.Scale(
            (
                paper.MINILM,
                Change("max_tokens", 96, "nearly all sentences are shorter"),
            ),
            (0, 1),
            "10 minutes",
        ),
        "full": paper.Scale(
            (
                Change("encoder", "bert_base_en_uncased", "this GPT cannot be loaded"),
                Change("max_tokens", 128, "no sentence is longer"),
            ),
            (0, 1, 2),
            "an hour",
        ),
    },
)
