"""Keeps gRPC from crashing the child processes of this program."""

import os


def spare_forked_children() -> None:
    """Turns off gRPC's fork handlers. Call it before anything imports gRPC.

    While TFF's worker runs, these handlers crash about one of three child processes between fork
    and exec. No forked child of this package uses gRPC.
    """
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
