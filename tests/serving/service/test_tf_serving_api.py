"""TensorFlow Serving's REST shape, against the examples of its documentation.

https://www.tensorflow.org/tfx/serving/api_rest, with texts in place of the numbers of its models.
"""

import base64

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from tests.serving.service import app as in_process
from tests.serving.service.fake_service import FakeModel
from tff_nlp.serving import saved_models
from tff_nlp.serving.service import tf_serving_api


def b64(text):
    return {"b64": base64.b64encode(text.encode()).decode()}


def test_inputs_have_the_names_of_the_exported_model():
    assert tf_serving_api.INPUTS == saved_models.TEXT_INPUTS


def test_status_of_a_model(run_async):
    async def requests():
        app = in_process.start({("m", 123): FakeModel(), ("m", 5): FakeModel()})

        def entry(version):
            return {
                "version": version,
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }

        status = await app.client.get("/v1/models/m")
        assert status.json() == {"model_version_status": [entry("123"), entry("5")]}
        status = await app.client.get("/v1/models/m/versions/5")
        assert status.json() == {"model_version_status": [entry("5")]}
        for path in ("half", "m/versions/6", "m/versions/x", "m/versions/" + "9" * 40):
            missing = await app.client.get(f"/v1/models/{path}")
            assert missing.status_code == 404
            assert list(missing.json()) == ["error"]

    run_async(requests())


ROWS = [
    {"label": "good", "probabilities": [0.003, 0.997]},
    {"label": "good", "probabilities": [0.02, 0.98]},
]


@pytest.mark.parametrize("signature", [{}, {"signature_name": "serving_default"}])
@pytest.mark.parametrize(
    "instances",
    [
        ["foo", "x" * 20],
        [{"texts": "foo"}, {"texts": "x" * 20}],
        [b64("foo"), {"texts": b64("x" * 20)}],
    ],
)
def test_rows(run_async, signature, instances):
    async def requests():
        app = in_process.start()
        for path in ("/v1/models/m:predict", "/v1/models/m/versions/1:predict"):
            answer = await app.post({**signature, "instances": instances}, path)
            assert answer.status_code == 200
            assert answer.json() == {"predictions": ROWS}

    run_async(requests())


@pytest.mark.parametrize("inputs", [["foo", "x" * 20], {"texts": ["foo", b64("x" * 20)]}])
def test_columns(run_async, inputs):
    async def requests():
        answer = await in_process.start().post({"inputs": inputs}, "/v1/models/m:predict")
        columns = {name: [row[name] for row in ROWS] for name in ("label", "probabilities")}
        assert answer.json() == {"outputs": columns}

    run_async(requests())


def test_pairs(run_async):
    async def requests():
        app = in_process.start({("m", 1): FakeModel(pairs=True)})
        path = "/v1/models/m:predict"
        rows = {"instances": [{"texts": "a", "second_texts": "bc"}]}
        columns = {"inputs": {"texts": ["a"], "second_texts": ["bc"]}}
        assert (await app.post(rows, path)).json() == {"predictions": ROWS[:1]}
        assert (await app.post(columns, path)).json()["outputs"]["label"] == ["good"]
        for wrong in (
            {"instances": ["a"]},
            {"instances": [{"texts": "a"}]},
            {"inputs": ["a"]},
            {"inputs": {"texts": ["a"], "second_texts": ["b", "c"]}},
        ):
            assert (await app.post(wrong, path)).status_code == 400

    run_async(requests())


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"instances": [], "inputs": []},
        {"instances": []},
        {"instances": "foo"},
        {"instances": [1.0, 5.0]},
        {"instances": [["foo"]]},
        {"instances": [{"b64": "é"}]},
        {"instances": [{"b64": base64.b64encode(b"\xff").decode()}]},
        {"instances": [{"texts": "a", "b": "c"}]},
        {"inputs": {"texts": "foo"}},
        {"inputs": {"other": ["foo"]}},
        {"inputs": 5},
        {"instances": ["a"] * 6},
        {"instances": ["a"], "signature_name": "other"},
        {"instances": ["a"], "signature_name": ["other"]},
    ],
)
def test_errors_have_one_key_and_code_400(run_async, content):
    async def requests():
        answer = await in_process.start().post(content, "/v1/models/m:predict")
        assert answer.status_code == 400
        assert list(answer.json()) == ["error"]

    run_async(requests())


def test_a_model_that_does_not_exist(run_async):
    async def requests():
        app = in_process.start()
        answer = await app.post({"instances": ["a"]}, "/v1/models/half:predict")
        assert answer.status_code == 404
        # The message is the one of the documentation.
        assert answer.json() == {"error": "Servable not found for request: Latest(half)"}
        answer = await app.post({"instances": ["a"]}, "/v1/models/m/versions/2:predict")
        assert answer.json() == {"error": "Servable not found for request: Specific(m, 2)"}

    run_async(requests())
