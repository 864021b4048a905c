"""Lets protobuf parse the deeply nested messages of large TFF computations."""


def lift_limit() -> None:
    """Raises protobuf's nesting limit from 100 to 65,535 messages.

    A composed computation, such as a learning process with TFF's distributed-DP aggregator, is
    nested deeper than 100 and would fail with "DecodeError: Error parsing message". Only upb, the
    implementation of protobuf 4.x, has such a limit in Python.
    """
    from google.protobuf.internal import api_implementation

    if api_implementation.Type() == "upb":
        from google._upb import _message

        _message.SetAllowOversizeProtos(True)
