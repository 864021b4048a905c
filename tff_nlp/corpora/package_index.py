"""Fetches one pinned file from the package index that pip or uv is configured for.

The file is only downloaded and checked against its checksum. Nothing in it is run or built.
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

# If no index is configured, the index of the project's lock file is used.
_LOCK = pathlib.Path(__file__).resolve().parents[2] / "uv.lock"
_LOCKED_INDEX = re.compile(r'^source = \{ registry = "(.+?)" \}$', re.MULTILINE)
_FORMATS = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_SECONDS = 20.0  # An index that does not answer for this time counts as unreachable.
_MOST_BYTES = 100_000_000
# The errors that malformed JSON, TOML, HTML or addresses raise.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError)
# A company's proxy may have its own certificate. scripts/setup trusts the same files.
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


@dataclasses.dataclass(frozen=True)
class PinnedFile:
    """A file of a project.

    Attributes:
      project: Normalized name of the project.
      name: Name of the file.
      sha256: SHA-256 checksum of the file, as 64 hexadecimal digits.
    """

    project: str
    name: str
    sha256: str


class NotFetchedError(Exception):
    """No index provided the file. The message is one line with each index and its error."""


def fetch(file: PinnedFile) -> bytes:
    """Returns the content of a file of the package index.

    Raises:
      NotFetchedError: If the indexes are switched off, if their configuration cannot be read, or
        if no index has the file with this checksum.
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
    """Returns the addresses of the configured indexes, in the order in which they are tried.

    The main index comes from the environment (`UV_DEFAULT_INDEX`, `UV_INDEX_URL`,
    `PIP_INDEX_URL`). Otherwise it comes from uv.toml or pip.conf, otherwise from the project's
    uv.lock. The additional indexes of all these places follow.
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
    # uv writes an index with a name as name=address.
    return list(dict.fromkeys(re.sub(r"^[\w.-]+=(?=\w+:)", "", index) for index in addresses))


def _of_uv() -> tuple[list[str], list[str]]:
    """Returns the default and the additional indexes of uv.toml. The user's file comes first."""
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
    import tomllib  # Not part of Python 3.10.

    with path.open("rb") as file:
        return tomllib.load(file)


def _of_pip() -> tuple[list[str], list[str]]:
    """Returns the main and the additional indexes of pip's configuration files, in their order."""
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
    """Yields the files of pip's configuration. Earlier files win."""
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
      ValueError: If the index does not have the file, or if the file's checksum is wrong.
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
    """Collects the links of a page.

    Attributes:
      links: Addresses of the links.
    """

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Adds the address of a link."""
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _read(address: str, index: str = "") -> tuple[bytes, str, str]:
    """Returns the content, the final address and the content type of a resource.

    Args:
      address: The address. It may contain a user name and a password.
      index: The index that linked to the address. Its password is used for the same host.
    """
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("https", "http", "file"):
        raise ValueError("is not the address of an index")
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
    """Returns an address without user name and password."""
    return re.sub(r"(?<=://)[^/]*@", "", address, count=1)
