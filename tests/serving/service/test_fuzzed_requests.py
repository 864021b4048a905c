"""Ten thousand malformed requests: none is answered with 5xx, and none ends a worker."""

import asyncio
import collections
import random
import re

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from tests.serving.service import fuzzed_requests
from tests.serving.service.fake_service import write_model
from tests.serving.service.test_whole_service import post

REQUESTS, CLIENTS = 10_000, 100


@pytest.mark.slow
def test_malformed_requests(serve, tmp_path):
    model = write_model(tmp_path / "model")
    service = serve(f"--run=model={model}", "--workers=2", "--client_timeout=1")
    workers = service.workers()
    generator = random.Random(7)
    codes, worst = asyncio.run(_send_all(service.port, generator))
    assert sum(codes.values()) == REQUESTS
    assert worst == []
    # The fuzzer is of use: it reaches the models, and most kinds of refusals.
    assert {200, 400, 404, 405, 408, 422} <= set(codes)
    assert service.workers() == workers
    assert post(service, {"text": "x"}).status_code == 200
    assert "Traceback" not in service.log
    assert not re.search(r" 5\d\d ", service.log)


async def _send_all(port, generator):
    """Returns the number of answers by code (0 for none), and the requests answered with 5xx."""
    codes, worst = collections.Counter(), []
    requests = [fuzzed_requests.request(generator) for _ in range(REQUESTS)]

    async def client():
        while requests:
            request = requests.pop()
            code = await _answer(port, request)
            codes[code] += 1
            if code >= 500:
                worst.append((code, request))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return codes, worst


async def _answer(port, request):
    """Returns the status code of the answer; 0 if the service closes the connection without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        code = 100
        while code == 100:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            code = int(re.match(rb"HTTP/1\.1 (\d{3})", head)[1])
        return code
    except (OSError, asyncio.IncompleteReadError):
        return 0
    finally:
        writer.close()
