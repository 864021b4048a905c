"""Whole services in processes, with made-up models: faults, signals, switches and slow clients."""

import asyncio
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import httpx

from benchmarks import http_load
from tests.serving.service.conftest import PATIENCE, ROOT
from tests.serving.service.fake_service import first_probability, write_model

CONTENTS = [{"text": "x" * length} for length in range(1, 200)]


class LoadedService:
    """Clients that send requests to a service in a thread."""

    def __init__(self, service, clients=8, seconds=3.0, key=None):
        target = http_load.Target("127.0.0.1", service.port, key=key)
        self._run = lambda: http_load.run(target, CONTENTS, clients, seconds, keep_bodies=True)
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self):
        self.load = asyncio.run(self._run())

    def result(self):
        self._thread.join()
        return self.load


def post(service, content, **more):
    return httpx.post(f"http://127.0.0.1:{service.port}/v1/predict", json=content, **more)


def raw(service, sent, seconds=20.0):
    """Sends bytes, and returns all that comes back until the service closes the connection."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=seconds) as client:
        client.sendall(sent)
        received = b""
        while piece := client.recv(4096):
            received += piece
        return received


@pytest.mark.thorough
def test_sigterm_under_load_loses_no_accepted_request(serve, tmp_path):
    model = write_model(tmp_path / "model", seconds=0.02)
    service = serve(f"--run={model}", "--workers=2")
    loaded = LoadedService(service, clients=16, seconds=2.5)
    time.sleep(1)
    service.signal(signal.SIGTERM)
    assert service.process.wait(PATIENCE) == 0
    load = loaded.result()
    assert load.broken == []
    assert set(load.codes) == {200}
    assert load.refused > 0  # The clients went on when the service was gone.
    assert "stopped" in service.log


@pytest.mark.slow
def test_a_killed_worker_under_load_is_replaced(serve, tmp_path):
    model = write_model(tmp_path / "model", seconds=0.01)
    service = serve(f"--run={model}", "--workers=2")
    before = service.workers()
    loaded = LoadedService(service, clients=16, seconds=6)
    time.sleep(1)
    os.kill(before[0], signal.SIGKILL)
    service.wait_for("another one is started")
    service.wait_for(r"worker \d+ is ready")
    load = loaded.result()
    # Only requests that the dead worker was answering are lost: one for each of its connections.
    assert len(load.broken) <= 16
    assert set(load.codes) == {200}
    after = service.workers()
    assert len(after) == 2
    assert before[1] in after
    metrics = httpx.get(f"http://127.0.0.1:{service.port}/metrics").text
    assert "tff_nlp_worker_starts_total 3" in metrics
    assert "tff_nlp_workers_ready 2" in metrics


@pytest.mark.thorough
def test_a_switch_under_load_loses_no_request(serve, tmp_path):
    old = write_model(tmp_path / "old", labels=["old", "other"], seconds=0.01)
    new = write_model(tmp_path / "new", labels=["new", "other"], load_seconds=0.5)
    models = tmp_path / "models.txt"
    models.write_text(f"# the models\nm:1={old}\n")
    service = serve(f"--models={models}", "--workers=2")
    loaded = LoadedService(service, clients=8, seconds=4)
    time.sleep(1)
    models.write_text(f"m:2={new}\n")
    service.signal(signal.SIGHUP)
    service.wait_for("now serving m version 2")
    load = loaded.result()
    assert load.broken == []
    assert load.codes == {200: len(load.seconds)}
    answers = [json.loads(body) for body in load.bodies]
    versions = [answer["version"] for answer in answers]
    assert {1, 2} == set(versions)
    for answer in answers:  # No answer mixes the two.
        (prediction,) = answer["predictions"]
        assert next(iter(prediction["probabilities"])) == {1: "old", 2: "new"}[answer["version"]]
    assert versions[-1] == 2
    assert post(service, {"text": "x", "version": 1}).status_code == 404


def test_a_broken_new_model_leaves_the_old_one(serve, tmp_path):
    good = write_model(tmp_path / "good")
    broken = write_model(tmp_path / "broken", broken=True)
    models = tmp_path / "models.txt"
    models.write_text(f"m={good}\n")
    service = serve(f"--models={models}", "--workers=2")
    for content, reason in (
        (f"m:2={broken}\n", "stay as they are: --run: cannot load the saved model: made up"),
        ("m=nowhere\n", "stay as they are: --models=nowhere: there is no such folder"),
    ):
        models.write_text(content)
        service.signal(signal.SIGHUP)
        service.wait_for(reason)
        assert post(service, {"text": "x"}).json()["version"] == 1
    models.write_text(f"m:3={good}\n")
    service.signal(signal.SIGHUP)
    service.wait_for("now serving m version 3")
    assert post(service, {"text": "x"}).json()["version"] == 3


@pytest.mark.thorough
def test_rate_limits_hold_over_workers_and_new_keys_come_with_sighup(serve, tmp_path):
    keys, model = tmp_path / "keys", write_model(tmp_path / "model")
    key = new_key(keys, "a", 30)
    service = serve(f"--run={model}", "--workers=2", f"--api_keys={keys}", "--host=127.0.0.1")
    assert post(service, {"text": "x"}).status_code == 401
    target = http_load.Target("127.0.0.1", service.port, key=key)
    load = asyncio.run(http_load.run(target, CONTENTS, 16, 1.0))
    assert load.codes[200] == 30
    assert set(load.codes) == {200, 429}
    refused = post(service, {"text": "x"}, headers={"Authorization": f"Bearer {key}"})
    assert 0 < int(refused.headers["retry-after"]) <= 60

    other = new_key(keys, "b", 5)
    lines = keys.read_text().splitlines()
    keys.write_text(lines[1] + "\n")  # Without the first key.
    service.signal(signal.SIGHUP)
    service.wait_for("now serving")
    assert (
        post(service, {"text": "x"}, headers={"Authorization": f"Bearer {key}"}).status_code == 401
    )
    sent = [
        post(service, {"text": "x"}, headers={"Authorization": f"Bearer {other}"}).status_code
        for _ in range(7)
    ]
    assert sent == [200] * 5 + [429] * 2


def new_key(path, name, per_minute):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments.serve",
            f"--new_key={name}",
            f"--api_keys={path}",
            f"--requests_per_minute={per_minute}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    key = done.stdout.strip()
    assert key.startswith(f"{name}.")
    assert key.partition(".")[2] not in path.read_text()
    return key


def test_large_bodies_and_slow_clients(serve, tmp_path):
    model = write_model(tmp_path / "model")
    service = serve(f"--run={model}", "--max_request_bytes=1000", "--client_timeout=1")
    assert post(service, {"text": "x" * 990}).status_code == 413
    # Without a stated length, in chunks.
    chunk = b"400\r\n" + b"x" * 0x400 + b"\r\n"
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
    assert raw(service, chunked).startswith(b"HTTP/1.1 413 ")
    began = time.monotonic()
    # A body that never comes, a head that never ends, and silence.
    late = raw(service, head + b"Content-Length: 10\r\n\r\nx")
    assert late.startswith(b"HTTP/1.1 408 ")
    for sent in (head, b""):
        with pytest.raises(ConnectionResetError):
            assert raw(service, sent) == b""
            raise ConnectionResetError  # An orderly end is as good.
    assert time.monotonic() - began < 15
    assert post(service, {"text": "x" * 900}).status_code == 200


def test_a_body_of_many_pieces(serve, tmp_path):
    service = serve(f"--run={write_model(tmp_path / 'model')}")
    text = "é" * 200_000
    answer = post(service, {"text": text}).json()
    assert answer["predictions"][0]["probabilities"]["bad"] == pytest.approx(0.0)
    sent = json.dumps({"text": text + "12"}, ensure_ascii=False).encode()

    def pieces():
        for start in range(0, len(sent), 1000):
            yield sent[start : start + 1000]

    url = f"http://127.0.0.1:{service.port}/v1/predict"
    answer = httpx.post(url, content=pieces(), timeout=60).json()
    assert answer["predictions"][0]["probabilities"]["bad"] == pytest.approx(0.002)


def test_answers_belong_to_their_texts(serve, tmp_path):
    model = write_model(tmp_path / "model", seconds=0.005)
    service = serve(f"--run={model}", "--max_batch=4")
    texts = ["x" * length for length in range(1, 100)]
    answer = post(service, {"texts": texts}).json()
    assert len(answer["predictions"]) == len(texts)
    got = [prediction["probabilities"]["bad"] for prediction in answer["predictions"]]
    assert got == pytest.approx([first_probability(text) for text in texts])


def test_a_full_queue_is_503(serve, tmp_path):
    model = write_model(tmp_path / "model", seconds=0.2)
    service = serve(f"--run={model}", "--max_batch=2", "--max_queue=4", "--max_texts=4")
    load = LoadedService(service, clients=20, seconds=1).result()
    assert set(load.codes) == {200, 503}
    assert load.broken == []


@pytest.mark.thorough
@pytest.mark.parametrize("worker_count", [1, 2])
def test_the_service_starts_again_when_a_single_worker_dies(serve, tmp_path, worker_count):
    model = write_model(tmp_path / "model", load_seconds=0.5)
    service = serve(f"--run={model}", f"--workers={worker_count}")
    for pid in service.workers():
        os.kill(pid, signal.SIGKILL)
    service.wait_for(r"worker \d+ is ready", times=worker_count)
    assert post(service, {"text": "x"}).status_code == 200


def test_sighup_repairs_a_service_whose_worker_cannot_start(serve, tmp_path):
    model = write_model(tmp_path / "model")
    other = write_model(tmp_path / "other")
    models = tmp_path / "models.txt"
    models.write_text(f"m={model}\n")
    service = serve(f"--models={models}")
    write_model(model, broken=True)
    os.kill(service.workers()[0], signal.SIGKILL)
    service.wait_for("could not start: --run: cannot load the saved model: made up")
    models.write_text(f"m:2={other}\n")
    service.signal(signal.SIGHUP)
    service.wait_for("the next one loads m version 2")
    service.wait_for(r"worker \d+ is ready")
    assert post(service, {"text": "x"}).json()["version"] == 2


def test_the_supervisor_has_one_thread_because_it_forks(serve, tmp_path):
    service = serve(f"--run={write_model(tmp_path / 'model')}")
    status = pathlib.Path(f"/proc/{service.process.pid}/status").read_text()
    assert "\nThreads:\t1\n" in status


def test_a_dead_supervisor_leaves_no_worker(serve, tmp_path):
    service = serve(f"--run={write_model(tmp_path / 'model')}", "--workers=2")
    workers = service.workers()
    service.process.kill()
    service.process.wait()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and any(map(_lives, workers)):
        time.sleep(0.05)
    assert not any(map(_lives, workers))


def _lives(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def script(*flags):
    done = subprocess.run(
        [sys.executable, "-m", "tests.serving.service.fake_service", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()[-1]


def test_mistakes_are_one_line_and_code_2(tmp_path):
    good = write_model(tmp_path / "good")
    broken = write_model(tmp_path / "broken", broken=True)
    other = tmp_path / "other.txt"
    other.write_text('{"name": "x"}\n')
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flags, reason in (
            ([f"--run={broken}", "--port=0"], "--run: cannot load the saved model: made up"),
            ([f"--run={good}", f"--port={port}"], f"--port={port}: cannot be used on 127.0.0.1"),
            ([f"--run={unfinished}"], "has no model yet; finish the run first"),
            ([f"--run={good}", f"--api_keys={other}"], "line 1: not a line of an API key"),
            ([f"--run={good}", "--host=0.0.0.0"], "without --api_keys, only this machine"),
            ([], "--run is needed"),
        ):
            code, line = script(*flags)
            assert code == 2, line
            assert line.startswith("fake_service.py: --"), line
            assert reason in line
