"""Which package indexes are tried, in which order, and which answers are accepted."""

import hashlib
import http.server
import json
import sys
import threading

import pytest

from tff_nlp.corpora import package_index

CONTENT = b"a source distribution"
FILE = package_index.PinnedFile("thing", "Thing-1.0.zip", hashlib.sha256(CONTENT).hexdigest())
VARIABLES = (
    "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_OFFLINE",
    "UV_NO_INDEX", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX",
)  # fmt: skip


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Removes the configuration of all indexes. Returns the user's configuration folder."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(package_index, "_LOCK", tmp_path / "uv.lock")
    return tmp_path / "config"


class Handler(http.server.BaseHTTPRequestHandler):
    """An index that requires a password for its pages, but not for its files."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        page = self.server.page
        kind, body = "application/vnd.pypi.simple.v1+json", page.encode()
        if self.path.startswith("/simple/files"):
            kind, body = "application/zip", CONTENT
        elif self.headers.get("Authorization") is None:
            self.send_error(401)
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        link = {"filename": FILE.name, "url": "../files/a%20b.zip"}
        server.page = json.dumps({"files": [link]})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def page(folder, content=CONTENT, link="../../files/Thing-1.0.zip#sha256=1"):
    """Publishes an index as local files and returns its address."""
    (folder / "simple" / "thing").mkdir(parents=True)
    (folder / "files").mkdir()
    (folder / "files" / "Thing-1.0.zip").write_bytes(content)
    html = f'<!DOCTYPE html><a name="x">x</a><a href="{link}">Thing-1.0.zip</a>'
    (folder / "simple" / "thing" / "index.html").write_text(html)
    return (folder / "simple").as_uri()


def test_nothing_is_configured(machine):
    assert package_index.indexes() == []
    with pytest.raises(package_index.NotFetchedError, match="no package index is configured"):
        package_index.fetch(FILE)


def test_the_lock_file_is_the_last_choice(machine, monkeypatch, tmp_path):
    (tmp_path / "uv.lock").write_text(
        'name = "a"\nsource = { registry = "https://locked.example/simple" }\n'
        'source = { registry = "https://other.example/simple" }\n'
    )
    assert package_index.indexes() == ["https://locked.example/simple"]
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/simple")
    assert package_index.indexes() == ["https://pip.example/simple"]
    monkeypatch.setenv("UV_INDEX_URL", "https://old.example/simple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "named=https://new.example/simple")
    monkeypatch.setenv("UV_INDEX", "b=https://b.example/x=y c://d")
    assert package_index.indexes() == [
        "https://new.example/simple",
        "https://b.example/x=y",
        "c://d",
    ]


def test_files_of_uv_and_pip(machine, monkeypatch):
    (machine / "pip").mkdir(parents=True)
    (machine / "pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://pip.example/%7Ea\n"
        "extra-index-url =\n    https://one.example\n    https://two.example\n"
    )
    monkeypatch.delenv("PIP_CONFIG_FILE")
    assert package_index.indexes()[:3] == [
        "https://pip.example/%7Ea",
        "https://one.example",
        "https://two.example",
    ]
    (machine / "uv").mkdir()
    (machine / "uv" / "uv.toml").write_text(
        '[[index]]\nurl = "https://extra.example"\n'
        '[[index]]\nurl = "https://uv.example"\ndefault = true\n'
    )
    if sys.version_info >= (3, 11):
        assert package_index.indexes()[:2] == ["https://uv.example", "https://extra.example"]


def test_a_page_of_links(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_INDEX_URL", page(tmp_path))
    assert package_index.fetch(FILE) == CONTENT


def test_the_next_index_is_tried(machine, monkeypatch, tmp_path):
    wrong, right = page(tmp_path / "a", b"another"), page(tmp_path / "b")
    monkeypatch.setenv("PIP_INDEX_URL", f"{(tmp_path / 'absent').as_uri()}/")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{wrong} ftp://old.example {right}")
    assert package_index.fetch(FILE) == CONTENT
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{wrong} ftp://old.example")
    with pytest.raises(package_index.NotFetchedError) as raised:
        package_index.fetch(FILE)
    message = str(raised.value)
    assert "No such file" in message
    assert "its Thing-1.0.zip has another checksum" in message
    assert "ftp://old.example: is not the address of an index" in message


def test_a_password_is_used_and_not_shown(machine, monkeypatch, server):
    port = server.server_address[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://ann:s%40fe@127.0.0.1:{port}/simple")
    assert package_index.fetch(FILE) == CONTENT
    login = "Basic YW5uOnNAZmU="  # ann:s@fe
    assert server.asked == [("/simple/thing/", login), ("/simple/files/a%20b.zip", login)]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    with pytest.raises(package_index.NotFetchedError, match="Unauthorized"):
        package_index.fetch(FILE)
    server.shutdown()
    server.server_close()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://ann:s%40fe@127.0.0.1:{port}/simple")
    with pytest.raises(package_index.NotFetchedError) as raised:
        package_index.fetch(FILE)
    assert "s%40fe" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("pip/pip.conf", "index-url = x\n"), ("uv/uv.toml", "index = 3\n"), ("uv/uv.toml", "=\n")],
)
def test_broken_configuration_is_one_line(machine, monkeypatch, name, content):
    if name.startswith("uv") and sys.version_info < (3, 11):
        pytest.skip("uv.toml is not read before Python 3.11")
    monkeypatch.delenv("PIP_CONFIG_FILE")
    (machine / name).parent.mkdir(parents=True)
    (machine / name).write_text(content)
    with pytest.raises(package_index.NotFetchedError, match="pip or uv cannot be read") as raised:
        package_index.fetch(FILE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("body", ["{}", "[]", "no JSON", '{"files": 3}'])
def test_a_malformed_answer_gives_one_line(machine, monkeypatch, server, body):
    server.page = body
    port = server.server_address[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://a:b@127.0.0.1:{port}/simple")
    with pytest.raises(package_index.NotFetchedError, match=f"^http://127.0.0.1:{port}/simple: "):
        package_index.fetch(FILE)


@pytest.mark.parametrize("name", ["UV_OFFLINE", "PIP_NO_INDEX"])
def test_indexes_can_be_switched_off(machine, monkeypatch, tmp_path, name):
    monkeypatch.setenv("PIP_INDEX_URL", page(tmp_path))
    monkeypatch.setenv(name, "1")
    with pytest.raises(package_index.NotFetchedError, match=f"{name} is set"):
        package_index.fetch(FILE)
    monkeypatch.setenv(name, "false")
    assert package_index.fetch(FILE) == CONTENT
