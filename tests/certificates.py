"""Certificates that tests make for themselves: authorities, servers, clients, and some that are wrong on purpose."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as PEM files; the key only for its owner."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates. `cert` is the file to trust."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _certificate(self._key, self._key, _name(name), _name(name), is_authority=True)
        self.cert = folder / f"{name}.pem"
        self.cert.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *names: str, days: int = 2) -> Pair:
        """A certificate for DNS names and addresses; with negative days one that has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(key, self._key, _name(name), self._certificate.subject, names=names, days=days)
        pair = Pair(self._folder / f"{self._name}-{name}.pem", self._folder / f"{self._name}-{name}.key")
        pair.cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        write_private(pair.key, _pem(key, serialization.NoEncryption()))
        return pair


def encrypted(folder: Path, passphrase: str) -> Path:
    """A private key that wants a passphrase."""
    key = ec.generate_private_key(ec.SECP256R1())
    return write_private(folder / "encrypted.key", _pem(key, serialization.BestAvailableEncryption(passphrase.encode())))


def write_private(file: Path, content: bytes) -> Path:
    """A file that only its owner can read."""
    file.touch(mode=0o600)
    file.write_bytes(content)
    return file


def _pem(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    issuer: x509.Name,
    *,
    names: tuple[str, ...] = (),
    days: int = 2,
    is_authority: bool = False,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
