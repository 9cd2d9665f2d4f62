"""TLS identities from Ed25519 node keys, and contexts that accept nothing else.

Python's `ssl` pins certificates, not keys, and it needs them beforehand; a node knows only its peers' keys. So each
certificate has an issuer other than its subject, both named after the key, and is signed by the node key itself. The
verifier makes, from the public key alone, the trust anchor that this issuer name points to: OpenSSL checks the
certificate's signature with the anchor's key and never the anchor's own signature. An unknown key therefore fails
inside the handshake. A peer could still issue a certificate for a stranger's key, so `certified_key` is compared after.

TLS 1.3 only, no session tickets (a resumed session would skip the check), no host names: the key is the name.
"""

from __future__ import annotations

import datetime
import secrets
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from potchain import TransportError

NOT_BEFORE = datetime.datetime(2000, 1, 1)
"""Certificates say nothing about time: a wrong clock must not stop a node, and keys are retired by governance."""
NOT_AFTER = datetime.datetime(9999, 12, 31, 23, 59, 59)
PASSWORD_BYTES = 32


class NodeIdentity:
    """A node key with the certificate that shows it."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: the 32 private bytes. Raises TransportError for another length."""
        if len(secret) != 32:
            raise TransportError(f"an Ed25519 node key has 32 bytes, this one {len(secret)}; check the node key file")
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public_key: bytes = self._key.public_key().public_bytes_raw()
        self._certificate = _certificate(
            self._key.public_key(), _leaf_name(self.public_key), _anchor_name(self.public_key), self._key, ca=False
        )

    def server_context(self, accepted: Iterable[bytes]) -> ssl.SSLContext:
        """Context of the listening side; lets in the given 32-byte keys only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0
        return self._furnish(context, accepted)

    def client_context(self, expected: bytes) -> ssl.SSLContext:
        """Context for dialling the one peer that holds the given 32-byte key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        return self._furnish(context, (expected,))

    def _furnish(self, context: ssl.SSLContext, accepted: Iterable[bytes]) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        anchors = "".join(self._anchor(key) for key in accepted)
        if anchors:
            context.load_verify_locations(cadata=anchors)
        # load_cert_chain reads files only. What touches the disk is sealed with a password that never does.
        password = secrets.token_bytes(PASSWORD_BYTES)
        sealing = serialization.BestAvailableEncryption(password.hex().encode())
        key_pem = self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing)
        with tempfile.TemporaryDirectory(prefix="potchain-tls-") as folder:
            path = Path(folder) / "identity.pem"
            path.touch(mode=0o600)
            path.write_bytes(key_pem + self._certificate.public_bytes(serialization.Encoding.PEM))
            context.load_cert_chain(path, password=password.hex())
        return context

    def _anchor(self, key: bytes) -> str:
        """Trust anchor for a peer's key; our signature on it fills a field that nobody checks."""
        name = _anchor_name(key)
        certificate = _certificate(load_public_key(key), name, name, self._key, ca=True)
        return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def load_public_key(key: bytes) -> Ed25519PublicKey:
    """A peer's node key. Raises TransportError when it is none."""
    try:
        return Ed25519PublicKey.from_public_bytes(key)
    except ValueError:
        raise TransportError(f"0x{key.hex()} is no Ed25519 public key of 32 bytes; check the peer's node_key") from None


def certified_key(certificate_der: bytes) -> bytes | None:
    """The 32-byte Ed25519 key that a certificate shows; None when it shows something else."""
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    except ValueError:
        return None
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else None


def _certificate(
    key: Ed25519PublicKey, subject: x509.Name, issuer: x509.Name, signer: Ed25519PrivateKey, *, ca: bool
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(1)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .sign(signer, None)
    )


def _anchor_name(key: bytes) -> x509.Name:
    return _name("potchain node key", key)


def _leaf_name(key: bytes) -> x509.Name:
    return _name("potchain node", key)


def _name(what: str, key: bytes) -> x509.Name:
    """Unique per key: OpenSSL finds an issuer by name. 64 hex digits are just what a common name may have."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, what),
            x509.NameAttribute(NameOID.COMMON_NAME, key.hex()),
        ]
    )
