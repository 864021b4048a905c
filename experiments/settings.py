"""The flags of the experiments, in groups; each group is checked when it is parsed."""

import dataclasses
import importlib.util
import math
import re
from typing import Any

from experiments import checks, flag_groups
from experiments.flag_groups import flag
from tff_nlp.clients import partitions
from tff_nlp.corpora import source

# What a number of an update takes when it is sent as it is.
FLOAT_BITS = 32

# Stated here, too, so that flags are checked before TensorFlow is imported; a test compares.
CONTEXTS = ("streaming", "ray", "tff")
ALGORITHMS = ("fedavg", "fedprox", "scaffold", "mime_lite")
# Of clients, where no flag says otherwise.
LEARNING_RATES = {"adamw": 1e-4, "sgd": 0.1}


@dataclasses.dataclass(frozen=True)
class ReadingFlags:
    """How files of texts are read, for training and for prediction."""

    format: str = flag("auto", "File format; auto goes by the extension.", source.FORMATS)
    text_column: str = flag("", "Column of the text: name or number from 0.")
    record_path: str = flag("", "Where the rows of a JSON file are: keys joined by dots.")
    header: bool = flag(True, "Whether a CSV or TSV file names its columns in the first row.")
    delimiter: str = flag("", "One character instead of the format's own.")
    quoting: str = flag("csv", "csv: RFC 4180 quotes; none: ordinary characters.", source.QUOTINGS)
    encoding: str = flag("utf-8", "Encodings to try on each line, separated by commas.")
    missing_values: str = flag(
        source.MISSING_VALUES, "Values of any column that mean none, separated by commas."
    )
    bad_rows: str = flag("error", "Rows that cannot be used: stop or count.", source.BAD_ROWS)


@dataclasses.dataclass(frozen=True)
class CorpusFlags(ReadingFlags):
    """What to train and test on."""

    corpus: str = flag(
        "synthetic",
        "A file, a glob, a LEAF folder, or a name: synthetic, vader, one of TFDS.",
        path=True,
    )
    test_corpus: str = flag(
        "", "Test corpus, read as --corpus is; empty: the corpus's own.", path=True
    )
    test_fraction: float = flag(0.2, "Share of --corpus for testing where it has no test part.")
    label_column: str = flag("", "Column of the label, or @file, @stem, @suffix, @folder.")
    client_column: str = flag("", "Column of author, domain or other group; also @stem, @folder.")
    label_map: str = flag("", "from:to,from:to; 'to' may be drop, * stands for all others.")
    label_file: str = flag("", "Labels line by line beside the texts.", path=True)
    test_label_file: str = flag("", "The same for --test_corpus.", path=True)
    missing_client: str = flag(
        "bad_row", "Rows without a --client_column value.", source.MISSING_CLIENTS
    )
    strip_prefix: str = flag("", "Removed once from the start of each text that has it.")
    keep_overlap: bool = flag(False, "Keep training texts that the test corpus holds, too.")
    max_train_examples: int | None = flag(None, "Train on this many random examples only.")
    tfds_data_dir: str = flag("", "Where TensorFlow Datasets keeps its data.", path=True)
    negative_at_most: float = flag(
        source.NEGATIVE_AT_MOST, "Highest mean rating, from -4 to 4, that is negative in vader."
    )
    positive_at_least: float = flag(
        source.POSITIVE_AT_LEAST, "Lowest mean rating that is positive in vader."
    )

    def __post_init__(self) -> None:
        checks.check(
            0 < self.test_fraction < 1, "test_fraction", self.test_fraction, "between 0 and 1"
        )
        checks.at_least(1, "max_train_examples", self.max_train_examples)


@dataclasses.dataclass(frozen=True)
class ClientFlags:
    """Who holds what, and who takes part."""

    partition: str = flag(
        "auto",
        "natural: --client_column's values; grouped: several of them a client; domains: so many "
        "clients for each of them; iid; dirichlet; shards; quantity; auto: natural where the "
        "corpus has clients, else iid.",
        ("auto", *partitions.KINDS),
    )
    num_clients: int = flag(100, "Clients of a synthetic partition.")
    clients_per_domain: int = flag(1, "Clients that share a domain, a value of --client_column.")
    dirichlet_alpha: float = flag(0.5, "Concentration; small is skewed.")
    shards_per_client: int = flag(2, "Shards of sorted labels that a client gets.")
    min_examples_per_client: int = flag(1, "Fewest examples of a client.")
    client_test_fraction: float = flag(0.1, "Share of each client's examples kept for scoring it.")
    held_out_fraction: float = flag(0.0, "Share of the clients that never train.")
    alone: str = flag(
        "",
        "A domain of --partition=domains: train its clients once more without the others, in as "
        "many rounds, and compare.",
    )
    clients_per_round: int = flag(10, "Size of the cohort; its mean with --sampling=poisson.")
    sampling: str = flag(
        "auto",
        "fixed: that many, without replacement; poisson: each at random; cyclic: one after another "
        "in a random order; auto: what --dp needs, fixed without it.",
        ("auto", "fixed", "poisson", "cyclic"),
    )

    def __post_init__(self) -> None:
        for name in (
            "num_clients",
            "clients_per_domain",
            "shards_per_client",
            "min_examples_per_client",
            "clients_per_round",
        ):
            checks.at_least(1, name, getattr(self, name))
        checks.above_zero("dirichlet_alpha", self.dirichlet_alpha)
        for name in ("client_test_fraction", "held_out_fraction"):
            value = getattr(self, name)
            checks.check(0 <= value < 1, name, value, "at least 0 and below 1")


@dataclasses.dataclass(frozen=True)
class ModelFlags:
    """The classifier."""

    encoder: str = flag(
        "minilm",
        "minilm, random, a Hugging Face checkpoint folder, or a KerasNLP preset's name.",
        path=True,
    )
    encoder_layers: int = flag(2, "Layers of --encoder=random.")
    encoder_width: int = flag(128, "Width of --encoder=random.")
    encoder_heads: int = flag(2, "Attention heads of --encoder=random.")
    vocabulary_size: int = flag(8000, "Most word pieces of --encoder=random.")
    lowercase: bool | None = flag(
        None, "Whether --encoder=random reads capitals as small letters (it does by default)."
    )
    strip_accents: bool | None = flag(
        None,
        "Whether --encoder=random drops the accents of Latin, Greek and Cyrillic letters (it does "
        "not by default).",
    )
    decode_html_entities: bool = flag(
        False, "Read &amp; as & and so on, in training, prediction and the exported model."
    )
    pooling: str = flag("mean", "What the head reads.", ("mean", "cls", "pooler"))
    dropout: float = flag(0.1, "Dropout rate before the head.")
    trainable: str = flag(
        "all", "What trains: all, no_embeddings, top_K (for example top_2), biases, head."
    )
    max_tokens: int = flag(64, "Longer texts are cut.")
    compute_dtype: str = flag(
        "float32",
        "What the encoder computes in; weights stay float32. bfloat16 is for devices made for it.",
        ("float32", "bfloat16"),
    )

    def __post_init__(self) -> None:
        # Attention takes memory with the square of the length.
        in_range = 3 <= self.max_tokens <= 4096
        checks.check(in_range, "max_tokens", self.max_tokens, "from 3 to 4096")
        checks.check(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
        known = re.fullmatch(r"all|no_embeddings|top_[1-9]\d*|biases|head", self.trainable)
        names = "all, no_embeddings, top_K (for example top_2), biases or head"
        checks.check(bool(known), "trainable", self.trainable, names)
        for name in ("encoder_layers", "encoder_width", "encoder_heads", "vocabulary_size"):
            checks.at_least(1, name, getattr(self, name))
        for name in ("lowercase", "strip_accents"):
            value = getattr(self, name)
            if value is not None and self.encoder != "random":
                why = "a pretrained encoder keeps what it was trained with; only random can choose"
                checks.refuse(name, value, why)


@dataclasses.dataclass(frozen=True)
class ClientTrainingFlags:
    """How one holder of data trains; central training is one holder of everything."""

    batch_size: int = flag(32, "Most examples of a batch.")
    client_optimizer: str = flag(
        "auto", "Optimizer of a client; auto: what --algorithm needs.", ("auto", "sgd", "adamw")
    )
    client_learning_rate: float | None = flag(
        None,
        "Learning rate of a client; empty: "
        + ", ".join(f"{rate:g} with {name}" for name, rate in LEARNING_RATES.items())
        + ".",
    )
    client_momentum: float = flag(0.0, "Momentum of sgd.")
    client_weight_decay: float = flag(0.0, "Weight decay of adamw; not on biases and norms.")
    client_clip_norm: float | None = flag(None, "Largest L2 norm of a batch's gradient.")

    def __post_init__(self) -> None:
        checks.at_least(1, "batch_size", self.batch_size)
        if self.client_learning_rate is not None:
            checks.above_zero("client_learning_rate", self.client_learning_rate)
        checks.momentum("client", self.client_optimizer, self.client_momentum)
        decay = self.client_weight_decay
        checks.check(0 <= decay < math.inf, "client_weight_decay", decay, "0 or more, and finite")
        if decay and self.client_optimizer == "sgd":
            checks.refuse("client_weight_decay", decay, "only --client_optimizer=adamw uses it")
        if self.client_clip_norm is not None:
            checks.above_zero("client_clip_norm", self.client_clip_norm)

    def resolved(self, algorithm: str = "") -> "ClientTrainingFlags":
        """Returns the flags with optimizer and learning rate in place of what was left open.

        Args:
          algorithm: The federated algorithm; empty for central training.
        """
        name = self.client_optimizer
        if name == "auto":
            name = "sgd" if algorithm == "scaffold" else "adamw"
        rate = self.client_learning_rate
        return dataclasses.replace(
            self,
            client_optimizer=name,
            client_learning_rate=LEARNING_RATES[name] if rate is None else rate,
        )


@dataclasses.dataclass(frozen=True)
class FederatedFlags:
    """The federated algorithm."""

    algorithm: str = flag(
        "fedavg",
        "Federated algorithm: fedavg; fedprox: clients are held near the model; scaffold: control "
        "variates take out each client's drift; mime_lite: clients step by the server's optimizer.",
        ALGORITHMS,
    )
    proximal_strength: float = flag(0.01, "mu of fedprox.")
    logit_adjustment: float = flag(
        0.0,
        "Against label skew: how much of its log label frequencies a client adds to its logits in "
        "training; 1 is all, 0 none.",
    )
    weighting: str = flag(
        "auto",
        "Weights of the clients; auto: uniform with --dp, else by examples.",
        ("auto", "examples", "uniform"),
    )
    upload_bits: int = flag(
        FLOAT_BITS,
        "What a client sends each number of its update in: 32 as it is, 8 or 4 rounded at random.",
    )
    secure_aggregation: str = flag(
        "none",
        "How updates are added up: none, as floats in the clear; plain, as integers whose secure "
        "sum is simulated in the clear; masked, by the protocol of Bonawitz et al. 2017.",
        ("none", "plain", "masked"),
    )
    secure_aggregation_threshold: int | None = flag(
        None, "masked: how many clients must stay to the end; empty: the least that is safe."
    )
    secure_aggregation_colluders: int | None = flag(
        None, "masked: how many clients may side with a lying server; empty: below a third."
    )
    client_epochs: int = flag(1, "Passes of a client over its examples in a round.")
    local_steps: int | None = flag(None, "Batches per client and round, instead of epochs.")
    warmup_rounds: int = flag(0, "Rounds over which the client's learning rate rises.")
    decay_learning_rate: bool = flag(False, "Let it fall linearly to 0 over the rounds.")
    server_optimizer: str = flag(
        "sgd", "Optimizer of the server.", ("sgd", "adam", "yogi", "adagrad")
    )
    server_learning_rate: float = flag(1.0, "Learning rate of the server.")
    server_momentum: float = flag(0.0, "Momentum of sgd at the server.")
    server_epsilon: float = flag(1e-3, "Adaptivity (tau) of adam, yogi and adagrad.")

    def __post_init__(self) -> None:
        bits = self.upload_bits
        checks.check(bits in (FLOAT_BITS, 8, 4), "upload_bits", bits, "32, 8 or 4")
        for name, least in (
            ("secure_aggregation_threshold", 2),
            ("secure_aggregation_colluders", 0),
        ):
            value = getattr(self, name)
            checks.at_least(least, name, value)
            if value is not None and self.secure_aggregation != "masked":
                checks.refuse(name, value, "only --secure_aggregation=masked uses it")
        adjustment = self.logit_adjustment
        checks.check(
            0 <= adjustment < math.inf, "logit_adjustment", adjustment, "0 or more, and finite"
        )
        checks.at_least(1, "client_epochs", self.client_epochs)
        checks.at_least(1, "local_steps", self.local_steps)
        if self.local_steps is not None and self.client_epochs != 1:
            checks.refuse("client_epochs", self.client_epochs, "--local_steps is given instead")
        checks.at_least(0, "warmup_rounds", self.warmup_rounds)
        checks.above_zero("server_learning_rate", self.server_learning_rate)
        checks.above_zero("server_epsilon", self.server_epsilon)
        checks.momentum("server", self.server_optimizer, self.server_momentum)
        checks.above_zero("proximal_strength", self.proximal_strength)


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """How long, how often, which randomness."""

    rounds: int = flag(20, "Rounds of training.")
    eval_every: int = flag(5, "Evaluate after every so many rounds, and after the last.")
    client_eval_examples: int = flag(
        2000, "Clients are scored on about so many of their examples between the last round's."
    )
    checkpoint_every: int = flag(1, "Checkpoint after every so many rounds, and after the last.")
    seed: int = flag(0, "Every random choice derives from it.")

    def __post_init__(self) -> None:
        for name in ("rounds", "eval_every", "checkpoint_every", "client_eval_examples"):
            checks.at_least(1, name, getattr(self, name))


@dataclasses.dataclass(frozen=True)
class CentralFlags:
    """How long central training goes on."""

    epochs: int = flag(2, "Passes over the training corpus.")
    warmup_fraction: float = flag(0.1, "Share of the steps over which the learning rate rises.")
    decay_learning_rate: bool = flag(True, "Let it fall linearly to 0 over the steps.")
    evals_per_epoch: int = flag(2, "Evaluations per epoch.")
    seed: int = flag(0, "Every random choice derives from it.")

    def __post_init__(self) -> None:
        checks.at_least(1, "epochs", self.epochs)
        checks.at_least(1, "evals_per_epoch", self.evals_per_epoch)
        checks.check(
            0 <= self.warmup_fraction < 1, "warmup_fraction", self.warmup_fraction, "in [0, 1)"
        )


@dataclasses.dataclass(frozen=True)
class PlaceFlags:
    """Where things are."""

    output_dir: str = flag(
        "", "Receives the run; empty: a folder below runs/ named by corpus and flags.", path=True
    )
    cache_dir: str = flag(
        "",
        "Token caches, shared by runs; empty: tff_nlp below $XDG_CACHE_HOME or ~/.cache.",
        path=True,
    )


@dataclasses.dataclass(frozen=True)
class ExecutionFlags:
    """Where rounds run."""

    context: str = flag(
        "streaming", "Where rounds run: in this process, in Ray actors, in TFF's worker.", CONTEXTS
    )
    devices: str = flag("", "TensorFlow devices, one per client in flight; empty: all there are.")
    max_failed_clients: int = flag(0, "How many clients of a round may fail before it does.")
    ray_address: str = flag(
        "", "host:port of a Ray cluster that this machine is part of, or auto; empty: start one."
    )
    ray_actors: int | None = flag(
        None, "Ray actors; by default one per GPU, or without GPUs one per machine."
    )

    def __post_init__(self) -> None:
        checks.at_least(0, "max_failed_clients", self.max_failed_clients)
        checks.at_least(1, "ray_actors", self.ray_actors)
        for name, context in _EXECUTION_FLAGS_OF.items():
            if getattr(self, name) and self.context not in context:
                owners = " and ".join(f"--context={c}" for c in context)
                checks.refuse(name, getattr(self, name), f"only {owners} can use it")
        if self.context == "ray" and importlib.util.find_spec("ray") is None:
            why = "Ray is not installed; EXTRAS=ray scripts/setup adds it"
            checks.refuse("context", "ray", why)


# Which contexts have a use for a flag.
_EXECUTION_FLAGS_OF = {
    "devices": ("streaming",),
    "max_failed_clients": ("streaming", "ray"),
    "ray_address": ("ray",),
    "ray_actors": ("ray",),
}

# Flags that other flags' values leave without a meaning.
_MEANT_FOR = {
    "negative_at_most": ("corpus", ("vader",)),
    "positive_at_least": ("corpus", ("vader",)),
    "num_clients": ("partition", ("grouped", "iid", "dirichlet", "shards", "quantity")),
    "clients_per_domain": ("partition", ("domains",)),
    "dirichlet_alpha": ("partition", ("dirichlet", "quantity")),
    "shards_per_client": ("partition", ("shards",)),
    "encoder_layers": ("encoder", ("random",)),
    "encoder_width": ("encoder", ("random",)),
    "encoder_heads": ("encoder", ("random",)),
    "vocabulary_size": ("encoder", ("random",)),
    "proximal_strength": ("algorithm", ("fedprox",)),
    "server_epsilon": ("server_optimizer", ("adam", "yogi", "adagrad")),
}


def known(value: float | None) -> float:
    """Returns a value that `resolved` has filled in where it was left open.

    Raises:
      ValueError: If it has not.
    """
    if value is None:
        raise ValueError("the value is left open")
    return value


def without_effect(*groups: Any) -> list[str]:
    """Returns a sentence for every flag that was set and that the other flags leave unused.

    Args:
      *groups: Parsed groups, --partition=auto resolved.
    """
    defaults = {f.name: f.default for group in groups for f in dataclasses.fields(group)}
    values = flag_groups.record(*groups)
    return [
        f"--{name}={values[name]} has no effect with --{other}={values[other]}"
        for name, (other, choices) in _MEANT_FOR.items()
        if name in values
        and other in values
        and values[name] != defaults[name]
        and values[other] not in choices
    ]
