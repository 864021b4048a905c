"""The coding of a run does what its configuration says to the checks of flags."""

import pytest

from tff_nlp.aggregation.compression import names
from tff_nlp.runs import codings, configs


@pytest.mark.parametrize("feedback", [True, False])
@pytest.mark.parametrize("bits", [32, 8])
@pytest.mark.parametrize("name", names.COMPRESSIONS)
def test_configuration_and_object_agree(name, bits, feedback):
    if name == names.SIGNS and bits == 8:
        return
    chosen = configs.CompressionConfig(compression=name, upload_bits=bits, error_feedback=feedback)
    coding = codings.of_run(configs.FederatedRun(compression=chosen))
    if coding is None:
        assert chosen.setting == "" and (name, bits) == (names.NONE, 32)
        return
    assert coding.codec.setting == chosen.setting
    assert coding.codec.is_biased == (name in names.BIASED)
    assert coding.keeps_error == chosen.keeps_error
    if bits == 8:
        floats = getattr(coding.codec, "floats", coding.codec)
        assert floats.setting == "`upload_bits`=8"
