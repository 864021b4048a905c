"""Keeps gRPC out of the processes that this one starts."""

import os


def spare_forked_children() -> None:
    """Turns off gRPC's handlers of forks, before anything imports gRPC.

    While TFF's worker is there, they crash about every third child before it has become the
    program that it was started for. Nothing here uses gRPC in a forked child.
    """
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
