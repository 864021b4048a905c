"""Logs one line per request, without texts, and logs errors without what clients sent."""

import logging
import pathlib
import traceback
from collections.abc import Sequence
from typing import Any

from tff_nlp.printable import printable
from tff_nlp.serving.service.log_masking import masked

LOGGER = logging.getLogger("tff_nlp.serving")
_FORMAT = "%(asctime)s worker=%(process)d %(message)s"
_LONGEST_PATH = 200


def start() -> None:
    """Writes the log, and warnings of the HTTP server, to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    for logger, level in ((LOGGER, logging.INFO), (logging.getLogger("uvicorn"), logging.ERROR)):
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


def log_request(
    method: str, path: str, code: int, seconds: float, key: str | None, texts: int | None
) -> None:
    """Logs an answered request.

    Args:
      method: HTTP method.
      path: Path of the address, without the query.
      code: Status code of the answer.
      seconds: Seconds that it took.
      key: Name of the API key, if a valid one was sent.
      texts: Number of texts that were labelled, if any.
    """
    shown = printable(path, _LONGEST_PATH).replace(" ", "%20")
    LOGGER.info(
        "%s %s %d %.1f ms%s%s",
        printable(method, 20),
        shown,
        code,
        seconds * 1000,
        "" if key is None else f" key={key}",
        "" if texts is None else f" texts={texts}",
    )


def log_texts(texts: Sequence[Any]) -> None:
    """Logs texts, or pairs of texts, with masked addresses and numbers."""
    for text in texts:
        parts = (text,) if isinstance(text, str) else text
        LOGGER.info("text: %s", " | ".join(map(masked, parts)))


def log_failure(error: BaseException) -> None:
    """Logs the type and the place of an error. Its message may contain a client's text."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{pathlib.Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    LOGGER.error("%s at %s", type(error).__name__, where)
