"""GGUF files are read as their definition says. Damaged files give an error of one line."""

import sys

import gguf
import numpy as np
import pytest

from tests.models import llama_files
from tff_nlp.errors import UserError
from tff_nlp.models.gguf_file import GgufFile


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return llama_files.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_values(path):
    file = GgufFile(path, "encoder=x")
    for key, value in llama_files.VALUES.items():
        expected = np.float32(value) if isinstance(value, float) else value
        assert file.value(key, type(value)) == expected
    with pytest.raises(UserError, match=r"encoder=x: tiny\.gguf has no value some\.key"):
        file.value("some.key", int)
    with pytest.raises(UserError, match=r"the value llama\.block_count is not of the type str"):
        file.value("llama.block_count", str)


def test_tensors(path):
    file = GgufFile(path, "encoder=x")
    assert set(file.tensor_names) == set(llama_files.shapes())
    _, expected = llama_files.stored(path)
    exact = llama_files.tensors()
    for name, shape in llama_files.shapes().items():
        found = file.read(name, shape)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[name], rtol=1e-6, atol=1e-6)
        # A sixteenth of the range of a block, of 32 values with a standard deviation of 0.3.
        np.testing.assert_allclose(found, exact[name], atol=0.2)
    with pytest.raises(UserError, match="tensor other is missing"):
        file.read("other", (1,))
    with pytest.raises(UserError, match=r"output_norm\.weight has shape \[64\], its sizes say"):
        file.read("output_norm.weight", (63,))


def test_half_precision_and_strange_tensors(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "kinds.gguf", "llama")
    writer.add_tensor("half", np.array([[0.5, 2.0]], np.float16))
    writer.add_tensor("broken", np.array([np.nan, 1.0], np.float32))
    kind = gguf.GGMLQuantizationType.Q8_1
    writer.add_tensor("strange", np.zeros([1, 40], np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile(tmp_path / "kinds.gguf", "encoder=x")
    np.testing.assert_array_equal(file.read("half", (1, 2)), [[0.5, 2.0]])
    with pytest.raises(UserError, match="tensor broken has values that are not finite"):
        file.read("broken", (2,))
    with pytest.raises(UserError, match="tensor strange is Q8_1, which is not read"):
        file.read("strange", (1, 32))


def test_files_that_end_early(path, tmp_path):
    """Wherever a file ends, also inside its tokens and its tensors."""
    whole = path.read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in (0, 3, 4, 8, 20, 24, 100, 300, 700, 5000, 9000, len(whole) // 2, len(whole) - 40):
        cut.write_bytes(whole[:length])
        with pytest.raises(
            UserError, match=r"cut\.gguf is no GGUF file, or it is damaged: \S"
        ) as e:
            GgufFile(cut, "encoder=x")
        assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "content",
    [b"{}" * 100, b"PK\x03\x04" * 50, b"GGUF" + b"\xff" * 200],
    ids=["json", "zip", "nonsense"],
)
def test_other_files(tmp_path, content):
    (tmp_path / "other.gguf").write_bytes(content)
    with pytest.raises(UserError, match=r"encoder=x: other\.gguf is no GGUF file"):
        GgufFile(tmp_path / "other.gguf", "encoder=x")


def test_a_list_that_claims_to_be_endless(path, tmp_path):
    """The number of tokens is 2^60, though the file ends."""
    data = bytearray(path.read_bytes())
    # A string's length, "tokenizer.ggml.merges", the type (9: list), the type inside, the length.
    place = data.index(b"tokenizer.ggml.merges") + len(b"tokenizer.ggml.merges") + 8
    assert data[place : place + 8] == len(llama_files.MERGES).to_bytes(8, "little")
    data[place - 4 : place + 8] = (4).to_bytes(4, "little") + (2**60).to_bytes(8, "little")
    (tmp_path / "endless.gguf").write_bytes(data)
    with pytest.raises(UserError, match=r"endless\.gguf is no GGUF file, or it is damaged"):
        GgufFile(tmp_path / "endless.gguf", "encoder=x")


def test_the_other_byte_order_is_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match="the other byte order"):
        GgufFile(tmp_path / "big.gguf", "encoder=x")


def test_missing_file_and_missing_package(path, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"encoder=x: none\.gguf is missing in "):
        GgufFile(tmp_path / "none.gguf", "encoder=x")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match="encoder=x: .*; EXTRAS=smollm2 scripts/setup adds it"):
        GgufFile(path, "encoder=x")
