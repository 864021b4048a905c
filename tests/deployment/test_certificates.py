"""Keys of a federation. OpenSSL checks the certificates."""

import datetime
import json
import shutil
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from tff_nlp import errors
from tff_nlp.deployment import certificates


@pytest.fixture
def own(keys, tmp_path):
    """A copy of the keys of one silo."""
    return shutil.copytree(keys["ash"], tmp_path / "ash")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(("name", "purpose"), [("coordinator", "sslserver"), ("ash", "sslclient")])
def test_openssl_accepts_a_certificate_for_its_purpose_only(keys, name, purpose):
    for asked in ("sslserver", "sslclient"):
        verify = ["openssl", "verify", "-purpose", asked, "-x509_strict"]
        found = subprocess.run(
            [*verify, "-CAfile", "ca.pem", "cert.pem"],
            cwd=keys[name],
            capture_output=True,
            text=True,
        )
        assert (found.returncode == 0) is (asked == purpose), found.stderr


def test_each_party_has_the_same_members_and_its_own_key(keys):
    loaded = {name: certificates.load(folder) for name, folder in keys.items()}
    assert {each.name for each in loaded.values()} == set(keys)
    assert len({json.dumps(sorted(each.members.silos)) for each in loaded.values()}) == 1
    for name, each in loaded.items():
        public = ed25519.Ed25519PrivateKey.from_private_bytes(each.signing_key).public_key()
        members = each.members
        listed = members.coordinator if name == "coordinator" else members.silos[name]
        assert public.public_bytes_raw() == listed


def test_only_the_owner_reads_the_keys(keys):
    for folder in keys.values():
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for file in folder.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem", "signing.key", "members.json"])
def test_a_missing_or_damaged_file_is_named(own, name):
    (own / name).write_text("{}")
    with pytest.raises(errors.UserError, match=rf"^identity=.*{name}"):
        certificates.load(own)
    (own / name).unlink()
    with pytest.raises(errors.UserError, match=f"{name} is missing"):
        certificates.load(own)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("key.pem", "key.pem is not the key of cert.pem"),
        ("signing.key", "signing.key is not the key of ash"),
    ],
)
def test_a_key_of_somebody_else_is_refused(keys, own, file, message):
    shutil.copy(keys["birch"] / file, own / file)
    with pytest.raises(errors.UserError, match=message):
        certificates.load(own)


def test_a_certificate_of_another_authority_is_refused(own, tmp_path):
    others = certificates.enrol(tmp_path / "others", ["ash", "birch"], ["localhost"])
    shutil.copy(others["ash"] / "cert.pem", own / "cert.pem")
    shutil.copy(others["ash"] / "key.pem", own / "key.pem")
    with pytest.raises(errors.UserError, match="was not signed by the authority"):
        certificates.load(own)


@pytest.mark.parametrize(
    ("days", "message"),
    [(400, "expired on"), (-1, "is valid from .* and this machine's clock shows")],
)
def test_a_certificate_that_is_not_valid_now_is_refused(own, monkeypatch, days, message):
    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    monkeypatch.setattr(certificates, "_now", lambda: then)
    with pytest.raises(errors.UserError, match=message):
        certificates.load(own)


@pytest.mark.parametrize(
    ("silos", "message"),
    [
        (["a"], "at least two silos"),
        (["a", "A"], "a name occurs twice"),
        (["a", "../b"], "a name has 1 to 63"),
        (["a", ""], "a name has 1 to 63"),
        (["a", "coordinator"], "is not coordinator"),
        (["a", "x" * 64], "a name has 1 to 63"),
    ],
)
def test_names_that_cannot_be(tmp_path, silos, message):
    with pytest.raises(errors.UserError, match=message):
        certificates.enrol(tmp_path / "new", silos, ["localhost"])
    assert not (tmp_path / "new").exists()


def test_existing_keys_are_not_replaced(tmp_path):
    (tmp_path / "keys").mkdir()
    with pytest.raises(errors.UserError, match="exists; new keys need a new folder"):
        certificates.enrol(tmp_path / "keys", ["a", "b"], ["localhost"])
    assert list((tmp_path / "keys").iterdir()) == []


def test_addresses_and_names_of_the_coordinator_are_in_its_certificate(tmp_path):
    folders = certificates.enrol(
        tmp_path / "new", ["a", "b"], ["host.example.org", "10.0.0.7", "::1"]
    )
    pem = (folders["coordinator"] / "cert.pem").read_bytes()
    found = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert found.value.get_values_for_type(x509.DNSName) == ["host.example.org"]
    addresses = [str(a) for a in found.value.get_values_for_type(x509.IPAddress)]
    assert addresses == ["10.0.0.7", "::1"]
