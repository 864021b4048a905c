"""The byte ledger against closed forms and the sizes of published models."""

import math

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.execution.conftest import FEATURES, LABELS, keras_model_fn
from tests.learning.conftest import begin, tiny_classifier
from tff_nlp.execution import forms, ledger, streaming
from tff_nlp.models import classifier, encoders, tokenizer

TRAINED = 4 * (FEATURES * 4 + 4 + 4 * LABELS + LABELS)
FROZEN = 4 * (4 * 4 + 4)


def _counted(computation, **arguments):
    return ledger.of_form(forms.compile_round(computation), **arguments)


def _ledger(aggregator=None, unweighted=False, **arguments):
    kinds = tff.learning.algorithms
    build = kinds.build_unweighted_fed_avg if unweighted else kinds.build_weighted_fed_avg
    process = build(
        keras_model_fn, tff.learning.optimizers.build_sgdm(0.1), model_aggregator=aggregator
    )
    return _counted(process.next, **arguments)


@pytest.mark.thorough
def test_plain_averaging():
    found = _ledger()
    assert found.bytes_of("down", "weights") == TRAINED
    assert found.bytes_of("up", "update") == TRAINED
    assert found.once == FROZEN
    assert found.bytes_of("down", "round settings") == 4  # the learning rate
    assert found.down == TRAINED + 4
    assert found.up == TRAINED + found.bytes_of("up", "weight and metrics")
    assert not found.lower_bound


def test_secure_sums_are_counted_in_bits():
    @tff.federated_computation(
        tff.FederatedType(np.int32, tff.SERVER),
        tff.FederatedType(tff.TensorType(np.int64, [1000]), tff.CLIENTS),
    )
    def total(state, values):
        return state, tff.federated_secure_sum_bitwidth(values, 17)

    assert _counted(total).up == math.ceil(1000 * 17 / 8)
    # A sum over 100 clients needs 7 bits more.
    assert _counted(total, cohort=100).up == 1000 * 24 / 8
    assert _counted(total).bytes_of("up", "secure update") == 2125


@pytest.mark.thorough
def test_the_secure_aggregator_sends_integers():
    found = _ledger(tff.learning.secure_aggregator())
    assert found.bytes_of("up", "update") == 0
    # 32-bit integers in 64-bit tensors.
    assert found.bytes_of("up", "secure update") == TRAINED
    assert found.down < TRAINED + 400


def test_tensors_of_unknown_size_are_counted_apart():
    @tff.federated_computation(tff.FederatedType(np.str_, tff.CLIENTS))
    def collect(values):
        return tff.aggregators.federated_sample(values, 10)

    found = _counted(collect)
    assert found.lower_bound
    assert [p.unknown for p in found.parts if p.direction == "up"] == [1]


@pytest.mark.thorough
def test_frozen_weights_are_sent_once():
    model = tiny_classifier(trainable="head")
    found = _counted(begin(model)[0].next)
    assert found.bytes_of("up", "update") == 4 * model.trainable_parameters
    assert found.bytes_of("down", "weights") == 4 * model.trainable_parameters
    assert found.once == 4 * model.frozen_parameters
    assert found.bytes_of("down", "round settings") == 4  # the round number


def test_the_context_compiles_once(monkeypatch):
    compiled = []
    original = forms.compile_round
    monkeypatch.setattr(forms, "compile_round", lambda c: compiled.append(c) or original(c))
    context = streaming.StreamingContext(["/CPU:0"])

    @tff.federated_computation(
        tff.FederatedType(np.int32, tff.SERVER), tff.FederatedType(np.int32, tff.CLIENTS)
    )
    def total(state, values):
        return state, tff.federated_sum(values)

    assert ledger.of_form(context.form(total)).up == 4
    with tff.framework.get_context_stack().install(context):
        assert total(0, [1, 2]) == (0, 3)
    assert len(compiled) == 1


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("layers", "width", "size"),
    [
        (2, 128, 17_544_712),
        pytest.param(4, 256, 44_684_296, marks=pytest.mark.slow),
        pytest.param(4, 512, 115_058_696, marks=pytest.mark.slow),
        pytest.param(12, 768, 437_935_112, marks=pytest.mark.slow),
    ],
)
def test_published_sizes_of_bert(layers, width, size):
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = (*words, *(f"w{i}" for i in range(30522 - len(words))))
    backbone = encoders.build_backbone(
        vocabulary_size=30522,
        num_layers=layers,
        num_heads=width // 64,
        hidden_dim=width,
        intermediate_dim=4 * width,
        max_sequence_length=512,
    )
    encoder = encoders.Encoder("published", backbone, tokenizer.Tokenizer(vocabulary), False)
    model = classifier.build(encoder, 2, pooling="pooler")
    found = _counted(begin(model)[0].next)
    assert found.bytes_of("down", "weights") == found.bytes_of("up", "update") == size
    assert (found.down - size, found.once) == (4, 0)
    assert found.up - size < 64
