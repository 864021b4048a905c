"""Who is who in a federation: certificates for connections, and signing keys for secure sums.

An authority signs one certificate for the coordinator and one for each silo. Both ends of every
connection show theirs. The name of a silo is the common name of its certificate.

The public signing keys of all parties are in a file `members.json`, which each party has. It must
not come from the coordinator: who could replace a key in it could unmask a secure sum.
"""

import dataclasses
import datetime
import ipaddress
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import exceptions, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tff_nlp import durable_files, errors

AUTHORITY, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"
SIGNING_KEY, MEMBERS = "signing.key", "members.json"
# The private key of the authority lies in a folder of its own.
AUTHORITY_KEY = "ca.key"
COORDINATOR = "coordinator"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
# A new certificate is valid from an hour ago, because clocks differ.
_BEFORE = datetime.timedelta(hours=1)


@dataclasses.dataclass(frozen=True)
class Members:
    """The public signing keys of all parties, 32 bytes each.

    Attributes:
      coordinator: Key of the coordinator.
      silos: Key of each silo, by name. The position of a silo is its place among the sorted names.
    """

    coordinator: bytes
    silos: Mapping[str, bytes]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the silos, sorted."""
        return tuple(sorted(self.silos))


@dataclasses.dataclass(frozen=True)
class Credentials:
    """What one party has.

    Attributes:
      name: Common name of its certificate.
      authority: Certificate of the authority, PEM.
      certificate: Its own certificate, PEM.
      key: Private key of the certificate, PEM.
      signing_key: Private Ed25519 key, 32 bytes.
      members: The public signing keys of all parties.
    """

    name: str
    authority: bytes
    certificate: bytes
    key: bytes = dataclasses.field(repr=False)
    signing_key: bytes = dataclasses.field(repr=False)
    members: Members


def check_name(name: str) -> None:
    """Refuses a name that a file or a certificate cannot have.

    Raises:
      UserError: If it is refused.
    """
    if not _NAME.fullmatch(name) or name == COORDINATOR:
        raise errors.UserError(
            f"{errors.setting('silos', name)}: a name has 1 to 63 letters, digits, points, hyphens "
            f"or underscores, begins with a letter or digit, and is not {COORDINATOR}"
        )


def enrol(
    folder: pathlib.Path, silos: Sequence[str], hosts: Sequence[str], *, days: int = 365
) -> dict[str, pathlib.Path]:
    """Makes an authority, and a folder with the credentials of each party.

    Args:
      folder: A folder that does not exist. It gets `authority/`, `coordinator/` and `silos/NAME/`.
      silos: Names of the silos.
      hosts: Names and addresses under which silos reach the coordinator.
      days: Number of days for which the certificates are valid.

    Returns:
      The folder of each party by its name.

    Raises:
      UserError: If the folder exists, or a name is wrong or occurs twice.
      WriteError: If a file cannot be written.
    """
    _check_enrolment(folder, silos, hosts)
    until = _now() + datetime.timedelta(days=days)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, until)
    signing = {name: ed25519.Ed25519PrivateKey.generate() for name in (COORDINATOR, *sorted(silos))}
    public = {name: key.public_key().public_bytes_raw().hex() for name, key in signing.items()}
    listed = {COORDINATOR: public.pop(COORDINATOR), "silos": public}
    certificate = authority.public_bytes(serialization.Encoding.PEM)
    _write(folder / "authority", {AUTHORITY: certificate, AUTHORITY_KEY: _pem(authority_key)})
    folders = {}
    for name, key in signing.items():
        own = ec.generate_private_key(ec.SECP256R1())
        of_server = name == COORDINATOR
        issued = _issue(authority, authority_key, own, name, hosts if of_server else (), until)
        folders[name] = folder / COORDINATOR if of_server else folder / "silos" / name
        _write(
            folders[name],
            {
                AUTHORITY: certificate,
                CERTIFICATE: issued.public_bytes(serialization.Encoding.PEM),
                KEY: _pem(own),
                SIGNING_KEY: f"{key.private_bytes_raw().hex()}\n".encode(),
                MEMBERS: f"{json.dumps(listed, indent=2)}\n".encode(),
            },
        )
    return folders


def load(folder: pathlib.Path, flag: str = "identity") -> Credentials:
    """Reads and checks the credentials of a party.

    Args:
      folder: Its folder.
      flag: Option that named the folder, for messages.

    Raises:
      UserError: If a file is missing or damaged, the certificate is not valid now, is not of the
        authority, or does not fit the key, or the signing key is not the one of `members.json`.
    """
    start = errors.setting(flag, folder)
    content = {name: _read(folder / name, start) for name in (AUTHORITY, CERTIFICATE, KEY)}
    try:
        authority = x509.load_pem_x509_certificate(content[AUTHORITY])
        certificate = x509.load_pem_x509_certificate(content[CERTIFICATE])
        key = serialization.load_pem_private_key(content[KEY], password=None)
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm) as error:
        raise errors.UserError(
            f"{start}: {AUTHORITY}, {CERTIFICATE} or {KEY} is no PEM file of its kind"
        ) from error
    name = _common_name(certificate)
    _check_certificate(authority, certificate, start)
    if _public(key.public_key()) != _public(certificate.public_key()):
        raise errors.UserError(f"{start}: {KEY} is not the key of {CERTIFICATE}")
    members = _members(_read(folder / MEMBERS, start), start)
    signing_key = _signing_key(_read(folder / SIGNING_KEY, start), start)
    own = ed25519.Ed25519PrivateKey.from_private_bytes(signing_key).public_key()
    listed = members.coordinator if name == COORDINATOR else members.silos.get(name)
    if listed is None:
        raise errors.UserError(f"{start}: {errors.verbatim(name)} is not in {MEMBERS}")
    if listed != own.public_bytes_raw():
        raise errors.UserError(f"{start}: {SIGNING_KEY} is not the key of {name} in {MEMBERS}")
    return Credentials(
        name=name,
        authority=content[AUTHORITY],
        certificate=content[CERTIFICATE],
        key=content[KEY],
        signing_key=signing_key,
        members=members,
    )


def _check_enrolment(folder: pathlib.Path, silos: Sequence[str], hosts: Sequence[str]) -> None:
    if folder.exists():
        raise errors.UserError(
            f"{errors.setting('output_dir', folder)}: exists; new keys need a new folder"
        )
    if len(silos) < 2:
        raise errors.UserError(
            f"{errors.setting('silos', ','.join(silos))}: a federation has at least two silos"
        )
    for name in silos:
        check_name(name)
    # Some file systems do not tell upper and lower case apart.
    if len({name.lower() for name in silos}) < len(silos):
        raise errors.UserError(f"{errors.setting('silos', ','.join(silos))}: a name occurs twice")
    if not hosts:
        raise errors.UserError("`hosts`: is needed, the name or address of the coordinator")


def _check_certificate(
    authority: x509.Certificate, certificate: x509.Certificate, start: str
) -> None:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, exceptions.InvalidSignature) as error:
        raise errors.UserError(
            f"{start}: {CERTIFICATE} was not signed by the authority of {AUTHORITY}"
        ) from error
    for name, each in ((AUTHORITY, authority), (CERTIFICATE, certificate)):
        now = _now()
        if now > each.not_valid_after_utc:
            ended = each.not_valid_after_utc
            raise errors.UserError(f"{start}: {name} expired on {ended:%Y-%m-%d %H:%M} UTC")
        if now < each.not_valid_before_utc:
            begins = each.not_valid_before_utc
            raise errors.UserError(
                f"{start}: {name} is valid from {begins:%Y-%m-%d %H:%M} UTC, and this machine's "
                f"clock shows {now:%Y-%m-%d %H:%M} UTC"
            )


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _members(content: bytes, start: str) -> Members:
    try:
        values = json.loads(content)
        coordinator = bytes.fromhex(values[COORDINATOR])
        silos = {str(name): bytes.fromhex(key) for name, key in values["silos"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.UserError(f"{start}: {MEMBERS} is damaged") from error
    keys = [coordinator, *silos.values()]
    if any(len(key) != 32 for key in keys) or len(set(keys)) < len(keys):
        raise errors.UserError(f"{start}: {MEMBERS} has a key twice, or one that is not 32 bytes")
    return Members(coordinator, silos)


def _signing_key(content: bytes, start: str) -> bytes:
    try:
        key = bytes.fromhex(content.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise errors.UserError(f"{start}: {SIGNING_KEY} is damaged")
    return key


def _authority(key: ec.EllipticCurvePrivateKey, until: datetime.datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tff_nlp federation")])
    return (
        _builder(name, name, key.public_key(), key.public_key(), until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _issue(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    name: str,
    hosts: Sequence[str],
    until: datetime.datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    alternative = [_host(host) for host in hosts] or [x509.DNSName(name)]
    return (
        _builder(subject, authority.subject, key.public_key(), authority_key.public_key(), until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    of_issuer: ec.EllipticCurvePublicKey,
    until: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _BEFORE)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(of_issuer), critical=False
        )
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public(key: Any) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _read(path: pathlib.Path, start: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"({error.strerror})"
        raise errors.UserError(f"{start}: {path.name} {why}") from error


def _write(folder: pathlib.Path, files: Mapping[str, bytes]) -> None:
    with durable_files.writing(folder):
        folder.mkdir(durable_files.PRIVATE_FOLDER, parents=True)
    for name, content in files.items():
        with durable_files.replacing(folder / name) as file:
            file.write(content)
