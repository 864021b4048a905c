"""What is refused and how: each refusal is an answer {"error": "..."} with a status code."""

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse


class RefusedError(Exception):
    """A request that is not answered with a prediction.

    Attributes:
      code: Status code of the answer.
      reason: One sentence for the client.
      headers: Further headers of the answer.
    """

    def __init__(self, code: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.headers = dict(headers or {})


def failure(code: int, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Returns an answer {"error": reason} with a status code."""
    content: dict[str, Any] = {"error": reason}
    return JSONResponse(content, status_code=code, headers=dict(headers or {}))
