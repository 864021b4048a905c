"""The HTTP interface: answers, refusals and their codes, headers, logs and metrics."""

import json
import logging

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from tests.serving.service import app as in_process
from tests.serving.service.fake_service import FakeModel, first_probability
from tff_nlp.serving.service import api_keys, request_log
from tff_nlp.serving.service.api_keys import ApiKeys
from tff_nlp.serving.service.rate_limits import RateLimits, WindowMemory


def test_one_text_and_many_have_the_same_shape_of_answer(run_async):
    async def requests():
        app = in_process.start({("reviews", 3): FakeModel()})
        answer = await app.post({"text": "x" * 200})
        assert answer.status_code == 200
        assert answer.json() == {
            "model": "reviews",
            "version": 3,
            "predictions": [{"label": "good", "probabilities": {"bad": 0.2, "good": 0.8}}],
        }
        many = (await app.post({"texts": ["x" * 200, "y" * 700]})).json()
        assert many["predictions"][0] == answer.json()["predictions"][0]
        assert many["predictions"][1]["label"] == "bad"

    run_async(requests())


def test_pairs(run_async):
    async def requests():
        app = in_process.start({("pairs", 1): FakeModel(pairs=True)})
        pairs = [["ab", "cde"], ["é", "\U0001f600\0"]]
        answer = (await app.post({"texts": pairs})).json()
        got = [one["probabilities"]["bad"] for one in answer["predictions"]]
        assert got == pytest.approx([first_probability(pair) for pair in pairs])
        assert (await app.post({"text": ["ab", "cde"]})).status_code == 200
        for wrong in ("ab", ["ab"], ["a", "b", "c"], ["a", 1], ["a", " "]):
            assert (await app.post({"text": wrong})).status_code == 422

    run_async(requests())


def test_models_and_versions(run_async):
    async def requests():
        names = (("a", 1), ("a", 12), ("a", 7), ("b", 1))
        app = in_process.start({name: FakeModel(labels=[f"{name}", "x"]) for name in names})

        async def used(**asked):
            answer = await app.post({"text": "x", **asked})
            got = answer.json()
            if answer.status_code != 200:
                return answer.status_code
            assert f"{(got['model'], got['version'])}" in got["predictions"][0]["probabilities"]
            return got["model"], got["version"]

        assert await used() == ("a", 12)
        assert await used(model="a", version=1) == ("a", 1)
        assert await used(model="b") == ("b", 1)
        assert await used(version=7) == ("a", 7)
        for asked in ({"model": "c"}, {"version": 2}, {"model": "b", "version": 12}):
            assert await used(**asked) == 404
        for asked in ({"model": 1}, {"version": "1"}, {"version": True}, {"other": 1}):
            assert await used(**asked) == 422
        listed = (await app.client.get("/v1/models")).json()
        assert [(one["name"], one["version"]) for one in listed] == list(names)
        assert listed[0]["labels"] == ["('a', 1)", "x"]

    run_async(requests())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b'{"text": "x"', 400),
        (b'{"text": "\xff"}', 400),
        (b'{"text": "\\ud800"}', 400),
        (b'{"version": NaN}', 400),
        (b"[" * 5000, 400),
        (b"[]", 422),
        (b"null", 422),
        (b"{}", 422),
        (b'{"text": null}', 422),
        (b'{"text": 5}', 422),
        (b'{"text": ["a", "b"]}', 422),
        (b'{"text": "  "}', 422),
        (b'{"text": "a", "texts": ["b"]}', 422),
        (b'{"texts": []}', 422),
        (b'{"texts": "abc"}', 422),
        (b'{"texts": {"a": 1}}', 422),
        (b'{"texts": ["a", ""]}', 422),
        (b'{"texts": ["a", "b", "c", "d", "e", "f"]}', 422),
        (b'{"text": "' + b"x" * 10_000 + b'"}', 413),
    ],
)
def test_wrong_bodies(run_async, body, code):
    async def requests():
        app = in_process.start()
        answer = await app.client.post("/v1/predict", content=body)
        assert answer.status_code == code
        assert list(answer.json()) == ["error"]
        assert (await app.post({"text": "x"})).status_code == 200

    run_async(requests())


def test_a_body_without_a_length_is_also_limited(run_async):
    async def requests():
        app = in_process.start()
        sent = 0

        async def chunks():
            nonlocal sent
            for _ in range(100):
                sent += 1000
                yield b"x" * 1000

        answer = await app.client.post("/v1/predict", content=chunks())
        assert "content-length" not in answer.request.headers
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"

    run_async(requests())


def test_addresses_that_do_not_exist(run_async):
    async def requests():
        app = in_process.start()
        for method, path, code in (
            ("GET", "/nothing", 404),
            ("GET", "/v1/predict", 405),
            ("DELETE", "/", 405),
            ("POST", "/v1/models/m:classify", 405),
            ("GET", "/../../etc/passwd", 404),
        ):
            answer = await app.client.request(method, path)
            assert answer.status_code == code, path
            assert list(answer.json()) == ["error"]

    run_async(requests())


def test_keys(run_async, tmp_path):
    async def requests():
        app = in_process.start()
        path = tmp_path / "keys"
        key = api_keys.add(path, "shop", 2)
        keys = api_keys.read(path)
        memory = WindowMemory()
        app.access.keys = ApiKeys(keys)
        app.access.limits = RateLimits(memory.descriptor, memory.windows(keys))

        async def code(sent, path="/v1/predict", content=None):
            headers = {} if sent is None else {"Authorization": sent}
            content = {"text": "x"} if content is None else content
            answer = await app.post(content, path, headers=headers)
            return answer.status_code

        for sent in (None, "", key, f"Basic {key}", f"Bearer {key}x", "Bearer shop.", "Bearer é"):
            assert await code(sent and sent.encode()) == 401, sent
            assert await code(sent and sent.encode(), "/v1/models/m:predict") == 401
        # Without a valid key, nothing is said about bodies and models.
        assert await code(None, content=[1]) == 401
        assert await code(None, "/v1/models/none:predict") == 401
        assert await code(f"bearer {key}") == 200
        # A request that fails counts, too.
        assert await code(f"Bearer {key}", content=[1]) == 422
        answer = await app.post({"text": "x"}, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 60
        # The rest needs no key.
        for page in ("/", "/docs", "/healthz", "/readyz", "/metrics", "/v1/models/m"):
            assert (await app.client.get(page)).status_code == 200

    run_async(requests())


def test_ready_and_stopping(run_async):
    async def requests():
        app = in_process.start()
        app.readiness.loaded = False
        assert (await app.client.get("/readyz")).status_code == 503
        assert (await app.client.get("/healthz")).status_code == 200
        refused = await app.post({"text": "x"})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        app.readiness.loaded = True
        ready = await app.client.get("/readyz")
        assert (ready.status_code, ready.text) == (200, "ready\n")
        assert "connection" not in ready.headers
        app.readiness.stopping = True
        assert (await app.client.get("/readyz")).status_code == 503
        last = await app.post({"text": "x"})  # Its client connected before.
        assert last.status_code == 200
        assert last.headers["connection"] == "close"

    run_async(requests())


def test_a_failing_model_shows_and_logs_no_text(run_async, caplog, monkeypatch):
    async def requests():
        model = FakeModel()
        app = in_process.start({("m", 1): model})

        def fail(texts, batch_size):
            raise RuntimeError(f"cannot label {texts}")

        model.predict = fail
        answer = await app.post({"text": "secret words"})
        assert answer.status_code == 500
        assert answer.json() == {"error": "the service failed; its log says where"}

    monkeypatch.setattr(request_log.LOGGER, "propagate", True)
    caplog.set_level(logging.INFO)
    run_async(requests())
    assert "RuntimeError at test_http_app.py:" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("log_texts", [False, True])
def test_the_log(run_async, caplog, log_texts):
    async def requests():
        app = in_process.start(log_texts=log_texts)
        await app.post({"texts": ["call 555-1234 or a@b.org", "fine"]})
        await app.client.get("/v1/models?text=secret")
        await app.client.get("/%0aforged")

    caplog.set_level(logging.INFO)
    run_async(requests())
    lines = [record.getMessage() for record in caplog.records if record.name == "tff_nlp.serving"]
    texts = ["text: call [number] or [e-mail]", "text: fine"]
    assert lines[:-3] == (texts if log_texts else [])
    assert lines[-3].startswith("POST /v1/predict 200 ")
    assert lines[-3].endswith(" texts=2")
    assert lines[-2].startswith("GET /v1/models 200 ")
    assert lines[-1].startswith("GET /\\nforged 404 ")


def test_metrics_and_headers(run_async):
    async def requests():
        app = in_process.start()
        for text in ("a", "b", ""):
            await app.post({"text": text})
        answer = await app.client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'tff_nlp_requests_total{endpoint="predict",code="200"} 2' in answer.text
        assert 'tff_nlp_requests_total{endpoint="predict",code="422"} 1' in answer.text
        assert "tff_nlp_texts_total 2" in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers

    run_async(requests())


def test_the_schema_describes_the_answers(run_async):
    async def requests():
        app = in_process.start()
        schema = (await app.client.get("/openapi.json")).json()
        predict = schema["paths"]["/v1/predict"]["post"]
        assert schema["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
        assert predict["security"] == [{"HTTPBearer": []}]
        for code in ("200", "400", "401", "413", "422", "429", "503"):
            assert code in predict["responses"]
        for example in predict["requestBody"]["content"]["application/json"]["examples"].values():
            pairs = "pairs" in json.dumps(example["summary"])
            other = in_process.start({("m", 1): FakeModel(pairs=pairs)})
            assert (await other.post(example["value"])).status_code == 200
        page = (await app.client.get("/docs")).text
        for path in schema["paths"]:
            assert path in page

    run_async(requests())
