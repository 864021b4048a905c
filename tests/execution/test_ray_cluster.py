"""How a cluster is divided among actors."""

import pytest

pytest.importorskip("ray", reason="needs the extra ray")

from tff_nlp import errors  # noqa: E402
from tff_nlp.execution import ray_cluster  # noqa: E402
from tff_nlp.execution.ray_cluster import Machine, Plan  # noqa: E402


@pytest.mark.parametrize(
    ("machines", "actors", "plan"),
    [
        ([Machine(2, 0)], None, Plan(1, 2, 2, 0)),
        ([Machine(2, 0)], 2, Plan(2, 1, 1, 0)),
        ([Machine(8, 0)], 3, Plan(3, 2, 2, 0)),
        # A machine that only leads the cluster.
        ([Machine(0, 0), Machine(8, 0), Machine(8, 0)], None, Plan(2, 8, 8, 0)),
        ([Machine(4, 0), Machine(8, 0)], None, Plan(3, 4, 4, 0)),
        # Three lanes each would be twelve cores, too, but do not fit on the machines.
        ([Machine(4, 0), Machine(8, 0)], 4, Plan(4, 2, 2, 0)),
        ([Machine(4, 0), Machine(8, 0)], 12, Plan(12, 1, 1, 0)),
        ([Machine(32, 4), Machine(32, 4)], None, Plan(8, 1, 8, 1)),
        ([Machine(32, 4), Machine(32, 4)], 3, Plan(3, 1, 8, 1)),
        ([Machine(32, 4), Machine(32, 4)], 16, Plan(16, 1, 4, 0.5)),
        ([Machine(64, 0), Machine(2, 4)], None, Plan(4, 1, 0, 1)),
    ],
)
def test_plans(machines, actors, plan):
    assert ray_cluster.plan(machines, actors) == plan
    assert len(plan.devices) == plan.actors * plan.lanes


@pytest.mark.parametrize(
    ("machines", "actors", "message"),
    [
        ([Machine(2, 0)], 3, "--ray_actors=3: the Ray cluster has 2 cores"),
        ([Machine(2, 0)], 0, "--ray_actors=0: must be 1 or more"),
        ([Machine(0, 0)], None, "the Ray cluster has 0 cores"),
    ],
)
def test_clusters_that_are_too_small(machines, actors, message):
    with pytest.raises(errors.UserError, match=message):
        ray_cluster.plan(machines, actors)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://10.0.0.1:10001", "--ray_address=ray://10.0.0.1:10001: Ray Client"),
        ("127.0.0.1:1", "--ray_address=127.0.0.1:1: cannot connect to Ray"),
        ("127.0.0.1", "--ray_address=127.0.0.1: cannot connect to Ray .expected host:port"),
        ("127.0.0.1:port", "expected host:port"),
        ("127.0.0.1:99999", "--ray_address=127.0.0.1:99999: cannot connect"),
    ],
)
def test_addresses_where_there_is_no_cluster(address, message):
    with pytest.raises(errors.UserError, match=message) as raised:
        ray_cluster.connect(address)
    assert "\n" not in str(raised.value)
