"""How a cluster is started, protected against other users, and divided among actors."""

import concurrent.futures
import http.client
import os
import urllib.error
import urllib.request

import grpc
import pytest

ray = pytest.importorskip("ray", reason="needs the extra ray")

import psutil  # noqa: E402 - Ray brings it along

from tff_nlp import errors  # noqa: E402
from tff_nlp.execution import ray_cluster  # noqa: E402
from tff_nlp.execution.ray_cluster import Machine, Plan  # noqa: E402


@pytest.mark.parametrize(
    ("machines", "actors", "plan"),
    [
        ([Machine(2, 0)], None, Plan(1, 2, 2, 0)),
        ([Machine(2, 0)], 2, Plan(2, 1, 1, 0)),
        ([Machine(8, 0)], 3, Plan(3, 2, 2, 0)),
        # A head node without cores.
        ([Machine(0, 0), Machine(8, 0), Machine(8, 0)], None, Plan(2, 8, 8, 0)),
        ([Machine(4, 0), Machine(8, 0)], None, Plan(3, 4, 4, 0)),
        # Three lanes per actor would also need twelve cores, but do not fit on the machines.
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
        ([Machine(2, 0)], 3, "ray_actors=3: the Ray cluster has 2 cores"),
        ([Machine(2, 0)], 0, "ray_actors=0: must be 1 or more"),
        ([Machine(0, 0)], None, "the Ray cluster has 0 cores"),
    ],
)
def test_clusters_that_are_too_small(machines, actors, message):
    with pytest.raises(errors.UserError, match=message):
        ray_cluster.plan(machines, actors)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://10.0.0.1:10001", "ray_address=ray://10.0.0.1:10001: Ray Client"),
        ("127.0.0.1:1", "ray_address=127.0.0.1:1: cannot connect to Ray"),
        ("127.0.0.1", "ray_address=127.0.0.1: cannot connect to Ray .expected host:port"),
        ("127.0.0.1:port", "expected host:port"),
        ("127.0.0.1:99999", "ray_address=127.0.0.1:99999: cannot connect"),
    ],
)
def test_addresses_where_there_is_no_cluster(address, message):
    with pytest.raises(errors.UserError, match=message) as raised:
        ray_cluster.connect(address)
    assert "\n" not in str(raised.value)


# Requests that a stranger could send to Ray's processes: the head, a node, an actor, the object
# store.
METHODS = (
    "NodeInfoGcsService/CheckAlive",
    "InternalKVGcsService/InternalKVPut",
    "JobInfoGcsService/AddJob",
    "NodeManagerService/RequestWorkerLease",
    "CoreWorkerService/PushTask",
    "ObjectManagerService/Push",
)


def answer_to(port, method, token=None):
    """Returns the status that a process of the cluster answers to a request."""
    headers = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=20, metadata=headers)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


def http_status(port):
    """Returns the HTTP status of the agent, which installs packages for tasks, or None."""
    url = f"http://127.0.0.1:{port}/get_or_create_runtime_env"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, b""), timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return None


def own_processes():
    """This process and its children."""
    return {child.pid for child in psutil.Process().children(recursive=True)} | {os.getpid()}


def listeners(processes):
    """Returns each process with the addresses at which it listens."""
    found = (c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
    return {(c.pid, c.laddr) for c in found if c.pid in processes}


@pytest.fixture(scope="module")
def earlier_listeners():
    """Processes that listened before the cluster started, for example TFF's worker."""
    return listeners(own_processes())


@pytest.fixture
def listening(own_cluster, earlier_listeners):
    """The addresses at which the cluster listens."""
    return [address for _, address in listeners(own_processes()) - earlier_listeners]


@pytest.fixture(scope="module")
def own_cluster(earlier_listeners):
    """Starts a cluster in the same way as a run, and yields its folder."""
    before = len(ray_cluster._folders)
    assert ray_cluster.connect("", object_store_bytes=100 * 2**20)
    # Once a task has run, all of its processes are there.
    assert ray.get(ray.remote(lambda: 1).remote()) == 1
    yield ray_cluster._folders[before]
    ray.shutdown()


def test_a_started_cluster_listens_on_this_machine_only(listening):
    assert len(listening) >= 5
    assert {address.ip for address in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_a_started_cluster_answers_nobody_else(listening):
    ports = {address.port for address in listening}
    for method in METHODS:
        # Each service is at one port and unknown at the other ports.
        answers = {answer_to(port, method) for port in ports}
        assert "UNAUTHENTICATED" in answers, method
        assert answers <= {"UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE"}, method
    assert {status for status in map(http_status, ports) if status} == {401}
    head = ray.get_runtime_context().gcs_address.rpartition(":")[2]
    assert answer_to(head, METHODS[0], "0" * 64) == "UNAUTHENTICATED"
    assert answer_to(head, METHODS[0], os.environ["RAY_AUTH_TOKEN"]) == "OK"


def test_the_folder_of_a_started_cluster_is_private(own_cluster):
    assert own_cluster.stat().st_mode & 0o777 == 0o700
    session = ray._private.worker._global_node.get_session_dir_path()
    assert session.startswith(f"{own_cluster}/")
    ray_cluster._remove_folders()
    assert not own_cluster.exists()
    assert not ray.is_initialized()


def test_a_folder_with_a_long_path_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 7)))
    with pytest.raises(errors.UserError, match="^RAY_TMPDIR=.*: too long for .* sockets"):
        ray_cluster._new_folder()


class _Locked(grpc.GenericRpcHandler):
    """A head node that refuses every token."""

    def service(self, _):
        return grpc.unary_unary_rpc_method_handler(
            lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "another token")
        )


def test_a_cluster_with_another_token_is_refused_at_once():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([_Locked()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(errors.UserError, match="RAY_AUTH_TOKEN_PATH") as raised:
            ray_cluster.connect(f"127.0.0.1:{port}")
    finally:
        server.stop(None)
    assert str(raised.value).startswith(f"ray_address=127.0.0.1:{port}: cannot connect to Ray")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "new"}),
        ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "disabled"}),
        ({"RAY_AUTH_TOKEN_PATH": "a"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "a"}),
    ],
)
def test_the_users_token_settings_stay(monkeypatch, given, left):
    others = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    monkeypatch.setattr(os, "environ", {**others, **given})
    monkeypatch.setattr(ray_cluster.secrets, "token_hex", lambda _: "new")
    ray_cluster._ask_for_a_token()
    assert {k: v for k, v in os.environ.items() if k.startswith("RAY_AUTH")} == left
