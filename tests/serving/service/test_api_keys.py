"""API keys: what the file holds, and which keys are valid."""

import hashlib
import json
import stat

import pytest

from tff_nlp.errors import UserError
from tff_nlp.serving.service import api_keys
from tff_nlp.serving.service.api_keys import ApiKeys


def test_a_new_key_is_valid_and_its_secret_is_not_in_the_file(tmp_path):
    path = tmp_path / "keys"
    first, second = api_keys.add(path, "shop", 5), api_keys.add(path, "test", 600)
    keys = api_keys.read(path)
    assert [(key.name, key.requests_per_minute) for key in keys] == [("shop", 5), ("test", 600)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = first.removeprefix("shop.")
    assert len(secret) >= 43  # 256 bits in base64.
    assert secret not in path.read_text()
    line = json.loads(path.read_text().splitlines()[0])
    assert line["sha256"] == hashlib.sha256(f"{line['salt']}.{secret}".encode()).hexdigest()
    known = ApiKeys(keys)
    assert known.find(first).name == "shop"
    assert known.find(second).name == "test"
    wrong = [
        "",
        ".",
        "shop",
        "shop.",
        f"test.{secret}",
        first[:-1],
        f"{first}x",
        secret,
        "\ud800.x",
    ]
    assert [known.find(sent) for sent in wrong] == [None] * len(wrong)


def test_hashes_are_compared_in_constant_time(tmp_path, monkeypatch):
    path = tmp_path / "keys"
    key = api_keys.add(path, "a", 5)
    compared = []
    compare = api_keys.hmac.compare_digest
    monkeypatch.setattr(
        api_keys.hmac, "compare_digest", lambda *pair: compared.append(pair) or compare(*pair)
    )
    known = ApiKeys(api_keys.read(path))
    for sent in (key, "a.wrong", "nobody.wrong"):
        known.find(sent)
    assert len(compared) == 3  # For a name that does not exist, too.


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "has no key"),
        ("text,label\n", "line 1: not a line of an API key"),
        ("[1]\n", "line 1: not a line"),
        ('{"name": "a"}\n', "line 1: not a line"),
        ("{good}\n{good}\n", "line 2: a is there twice"),
        ("{good}\n{fast}\n", "line 2: not a line"),
    ],
)
def test_other_files_are_refused(tmp_path, content, reason):
    path = tmp_path / "keys"
    values = {"name": "a", "salt": "0" * 64, "sha256": "1" * 64, "requests_per_minute": 5}
    good = json.dumps(values)
    fast = json.dumps(values | {"name": "b", "requests_per_minute": True})
    path.write_text(content.replace("{good}", good).replace("{fast}", fast))
    with pytest.raises(UserError, match=reason):
        api_keys.read(path)


def test_mistakes_change_nothing(tmp_path):
    path = tmp_path / "keys"
    api_keys.add(path, "a", 5)
    before = path.read_bytes()
    for name, rate in (("a", 5), ("b c", 5), ("", 5), ("b", 0), ("b", 10**7)):
        with pytest.raises(UserError):
            api_keys.add(path, name, rate)
    assert path.read_bytes() == before
    other = tmp_path / "reviews.csv"
    other.write_text("text,label\n")
    with pytest.raises(UserError, match="not a line of an API key"):
        api_keys.add(other, "a", 5)
    assert other.read_text() == "text,label\n"
