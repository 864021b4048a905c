"""The pages for people: one to try a model, and one with the API. They load no other file."""

import base64
import functools
import hashlib
import html
import importlib.resources
import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi.responses import HTMLResponse

_TRY, _API = "try_a_model.html", "api_page.html"
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def try_a_model() -> HTMLResponse:
    """Returns the page on which a person types a text and sees labels with probabilities."""
    return _page(_read(_TRY))


def api(schema: Mapping[str, Any]) -> HTMLResponse:
    """Returns the page that describes the API.

    Args:
      schema: The OpenAPI schema.
    """
    sections = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            sections.append(_operation(method.upper(), path, operation))
    return _page(_read(_API).replace("<!-- operations -->", "\n".join(sections)))


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    examples = "".join(
        f"<p>{html.escape(example['summary'])}</p>"
        f"<pre><code>{html.escape(json.dumps(example['value'], indent=2))}</code></pre>"
        for example in body.get("examples", {}).values()
    )
    rows = "".join(
        f"<tr><th scope=row>{code}</th><td>{html.escape(response['description'])}</td></tr>"
        for code, response in operation["responses"].items()
    )
    return (
        f"<section><h2><code>{method} {html.escape(path)}</code></h2>"
        f"<p>{html.escape(operation.get('description', operation['summary']))}</p>{examples}"
        f"<table><thead><tr><th scope=col>Code</th><th scope=col>Answer</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></section>"
    )


@functools.cache
def _read(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _page(text: str) -> HTMLResponse:
    """Returns a page that may run its own script and style, and nothing else."""
    sources: dict[str, list[str]] = {"script": [], "style": []}
    for kind, code in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        sources[kind].append(f"'sha256-{digest}'")
    policy = "; ".join(
        (
            "default-src 'none'",
            *(f"{kind}-src {' '.join(hashes)}" for kind, hashes in sources.items() if hashes),
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})
