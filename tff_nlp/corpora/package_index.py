"""One pinned file of a project, fetched from the package index that pip or uv is configured for.

Nothing of the file is run or built: it is a download with a known checksum, wherever it comes from.
"""

import base64
import configparser
import dataclasses
import hashlib
import html.parser
import http.client
import json
import os
import pathlib
import re
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

# Where no index is configured: the one that the project's own packages are locked with.
_LOCK = pathlib.Path(__file__).resolve().parents[2] / "uv.lock"
_LOCKED_INDEX = re.compile(r'^source = \{ registry = "(.+?)" \}$', re.MULTILINE)
_FORMATS = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_SECONDS = 20.0  # An index that is silent for so long counts as out of reach.
_MOST_BYTES = 100_000_000
# What reading JSON, TOML, HTML or an address raises where it is not as its standard says.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError)
# As scripts/setup does: a company's proxy may have a certificate of its own.
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


@dataclasses.dataclass(frozen=True)
class PinnedFile:
    """A file of a project.

    Attributes:
      project: Normalized name of the project.
      name: Name of the file.
      sha256: Its checksum, as 64 hexadecimal digits.
    """

    project: str
    name: str
    sha256: str


class NotFetchedError(Exception):
    """No index gave the file; the message names each index and what went wrong, in one line."""


def fetch(file: PinnedFile) -> bytes:
    """Returns the content of a file of the package index.

    Raises:
      NotFetchedError: If no index has the file with this checksum.
    """
    for name in ("UV_OFFLINE", "UV_NO_INDEX", "PIP_NO_INDEX"):
        if os.environ.get(name, "").lower() not in ("", "0", "false", "no", "off"):
            raise NotFetchedError(f"{name} is set")
    try:
        addresses = indexes()
    except (*_MALFORMED, OSError, configparser.Error) as error:
        why = " ".join(str(error).split())
        raise NotFetchedError(f"the configuration of pip or uv cannot be read: {why}") from error
    failures = []
    for index in addresses:
        try:
            return _fetch(index, file)
        except (*_MALFORMED, OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            failures.append(f"{_without_password(index)}: {reason}")
    raise NotFetchedError("; ".join(failures) or "no package index is configured")


def indexes() -> list[str]:
    """Returns the addresses of the configured indexes, in the order in which they are asked.

    The main index is that of the environment (`UV_DEFAULT_INDEX`, `UV_INDEX_URL`,
    `PIP_INDEX_URL`), else of uv.toml or pip.conf, else of the project's uv.lock; the additional
    ones of all these places follow.
    """
    environment = os.environ
    main = [
        environment.get(name, "") for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
    ]
    more = [
        address
        for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL")
        for address in environment.get(name, "").split()
    ]
    for configured, additional in (_of_uv(), _of_pip()):
        main += configured
        more += additional
    if _LOCK.is_file():
        main += _LOCKED_INDEX.findall(_LOCK.read_text(encoding="utf-8"))[:1]
    addresses = [*[index for index in main if index][:1], *more]
    # uv writes an index that has a name as name=address.
    return list(dict.fromkeys(re.sub(r"^[\w.-]+=(?=\w+:)", "", index) for index in addresses))


def _of_uv() -> tuple[list[str], list[str]]:
    """Returns the default index and the additional ones of uv.toml, the user's own first."""
    main: list[str] = []
    more: list[str] = []
    for path in (_user_config() / "uv" / "uv.toml", pathlib.Path("/etc/uv/uv.toml")):
        options = _toml(path)
        for index in options.get("index", []):
            (main if index.get("default") else more).append(index["url"])
        main += [options["index-url"]] if "index-url" in options else []
        more += options.get("extra-index-url", [])
    return main, more


def _toml(path: pathlib.Path) -> Mapping[str, Any]:
    if sys.version_info < (3, 11) or not path.is_file():
        return {}
    import tomllib  # Python 3.10 has none.

    with path.open("rb") as file:
        return tomllib.load(file)


def _of_pip() -> tuple[list[str], list[str]]:
    """Returns the index and the additional ones of pip's configuration, the user's own first."""
    main: list[str] = []
    more: list[str] = []
    for path in _pip_files():
        parser = configparser.RawConfigParser()
        parser.read(path, encoding="utf-8")
        for section in ("install", "global"):
            main += parser.get(section, "index-url", fallback="").split()
            more += parser.get(section, "extra-index-url", fallback="").split()
    return main, more


def _pip_files() -> Iterator[pathlib.Path]:
    """Yields the files of pip's configuration; the earlier ones win."""
    named = os.environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return
    if named:
        yield pathlib.Path(named)
    yield pathlib.Path(sys.prefix) / "pip.conf"
    yield _user_config() / "pip" / "pip.conf"
    yield pathlib.Path("/etc/pip.conf")
    for folder in (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"):
        yield pathlib.Path(folder) / "pip" / "pip.conf"


def _user_config() -> pathlib.Path:
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    return pathlib.Path(folder or os.path.expanduser("~/.config"))  # noqa: PTH111 (never raises)


def _fetch(index: str, file: PinnedFile) -> bytes:
    """Returns the file from one index.

    Raises:
      OSError: If the index cannot be reached.
      ValueError: If it does not have the file, or has another one.
    """
    page, address, kind = _read(f"{index.rstrip('/')}/{file.project}/")
    links = _json_links(page) if "json" in kind else _html_links(page)
    if file.name not in links:
        raise ValueError(f"it has no {file.name}")
    content, *_ = _read(urllib.parse.urljoin(address, links[file.name]), index)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ValueError(f"its {file.name} has another checksum")
    return content


def _json_links(page: bytes) -> Mapping[str, str]:
    return {entry["filename"]: entry["url"] for entry in json.loads(page)["files"]}


def _html_links(page: bytes) -> Mapping[str, str]:
    parser = _Anchors()
    parser.feed(page.decode("utf-8", "replace"))
    return {
        urllib.parse.unquote(link.split("#")[0].rpartition("/")[2]): link for link in parser.links
    }


class _Anchors(html.parser.HTMLParser):
    """Collects where a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes the address of a link."""
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _read(address: str, index: str = "") -> tuple[bytes, str, str]:
    """Returns content, final address and content type of what an address names.

    Args:
      address: The address, which may hold a user's name and password.
      index: The index that led there; its password serves for the same host.
    """
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("https", "http", "file"):
        raise ValueError("is no address of an index")
    login = parts if parts.username else urllib.parse.urlsplit(index)
    plain = _without_password(address)
    if parts.scheme == "file" and plain.endswith("/"):
        plain += "index.html"
    request = urllib.request.Request(plain, headers={"Accept": _FORMATS})
    if login.username and login.hostname == parts.hostname:
        words = [urllib.parse.unquote(word or "") for word in (login.username, login.password)]
        token = base64.b64encode(":".join(words).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    with urllib.request.urlopen(request, timeout=_SECONDS, context=_context()) as answer:
        content = answer.read(_MOST_BYTES)
        return content, answer.geturl(), answer.headers.get_content_type()


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    for path in (os.environ.get("PIP_CERT", ""), *_CERTIFICATES):
        if pathlib.Path(path).is_file():
            context.load_verify_locations(path)
    return context


def _without_password(address: str) -> str:
    """Returns an address without the name and the password that it may hold."""
    return re.sub(r"(?<=://)[^/]*@", "", address, count=1)
