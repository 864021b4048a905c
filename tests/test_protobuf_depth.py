"""Deeply nested messages can be parsed after the package is imported."""

import subprocess
import sys

SCRIPT = """
from google.protobuf import struct_pb2
value = struct_pb2.Value(number_value=1.0)
for _ in range(300):
    outer = struct_pb2.Value()
    outer.list_value.values.add().CopyFrom(value)
    value = outer
{first}
print(struct_pb2.Value.FromString(value.SerializeToString()) == value)
"""


def test_messages_nested_300_deep_parse():
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(first="import tff_nlp")],
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "True", run.stderr


def test_the_limit_is_real_without_the_package():
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(first="")], capture_output=True, text=True
    )
    assert "DecodeError" in run.stderr
