"""Digests, keys and signatures. Pure: no files, no randomness except `generate`, which the command line calls.

Votes: secp256k1 ECDSA over sha256, 64 bytes r||s, low-s. Accounts: the same curve over EIP-712 digests with a recovery
byte, 65 bytes. libsecp256k1 through `coincurve` releases the GIL and costs 36-43 microseconds per check.
"""

from __future__ import annotations

from hashlib import sha256

from coincurve import PrivateKey, PublicKey
from coincurve.context import GLOBAL_CONTEXT
from coincurve.ecdsa import deserialize_compact, lib  # type: ignore[attr-defined]

from potchain.errors import InvalidProof
from potchain.primitives import Digest, NodeId

try:  # safe-pysha3 is six times faster, but has no wheels for every platform
    from sha3 import keccak_256 as _keccak_256

    def keccak256(data: bytes) -> bytes:
        """keccak-256 as Ethereum uses it (not SHA3-256)."""
        return _keccak_256(data).digest()  # type: ignore[no-any-return]

except ImportError:  # pragma: no cover - depends on the platform
    from Crypto.Hash import keccak as _keccak

    def keccak256(data: bytes) -> bytes:
        """keccak-256 as Ethereum uses it (not SHA3-256)."""
        return _keccak.new(digest_bits=256, data=data).digest()


CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order n of secp256k1 (SEC 2, section 2.4.1)."""

HALF_ORDER_BYTES = (CURVE_ORDER // 2).to_bytes(32, "big")
"""s above this is the malleable twin of a signature and is refused (EIP-2)."""

_EIP55_LETTER = int.from_bytes(b"\x40" * 40, "big")
_EIP55_MARK = bytes(0x20 if chr(code) in "89abcdef" else 0 for code in range(256))


def digest_of(tag: bytes, data: bytes) -> Digest:
    """sha256 under a domain tag, so that no two kinds of structure can share a digest."""
    return Digest(sha256(tag + b"\x00" + data).digest())


def address_of(public_key: bytes) -> bytes:
    """20-byte Ethereum address of a public key, 65 bytes uncompressed or 33 compressed.

    Raises InvalidProof when the bytes are no point of the curve.
    """
    if len(public_key) != 65:
        public_key = parse_public_key(public_key).format(compressed=False)
    return keccak256(public_key[1:])[12:]


def node_id_of(consensus_key: bytes) -> NodeId:
    """The validator's name inside consensus, from its 33-byte compressed consensus key."""
    return NodeId(address_of(consensus_key))


def parse_public_key(public_key: bytes) -> PublicKey:
    """A parsed secp256k1 key; parsing costs 16 microseconds, so keep it. Raises InvalidProof."""
    try:
        return PublicKey(public_key)
    except ValueError:
        raise InvalidProof(f"not a secp256k1 public key: 0x{public_key.hex()}") from None


def verify_vote(public_key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes, low-s) over sha256(message) is by that key. Never raises on rubbish."""
    if len(signature) != 64 or signature[32:] > HALF_ORDER_BYTES:
        return False
    try:
        parsed = deserialize_compact(signature)
    except ValueError:
        return False
    # As `PublicKey.verify` does, which would have the signature written and read as DER first.
    digest = sha256(message).digest()
    return bool(lib.secp256k1_ecdsa_verify(GLOBAL_CONTEXT.ctx, parsed, digest, public_key.public_key))


def recover_address(digest: bytes, signature: bytes) -> bytes:
    """Address whose key made `signature` (65 bytes r, s, v) over the 32-byte digest.

    Raises InvalidProof for a wrong length, v outside {27, 28}, a high s, or no such point.
    """
    if len(signature) != 65:
        raise InvalidProof(f"a signature has 65 bytes, this one {len(signature)}")
    if signature[64] not in (27, 28):
        raise InvalidProof(f"v must be 27 or 28, not {signature[64]}")
    if signature[32:64] > HALF_ORDER_BYTES:
        raise InvalidProof("s is above half the curve order (EIP-2); use the low-s form")
    try:
        point = PublicKey.from_signature_and_message(
            signature[:64] + bytes((signature[64] - 27,)), digest, hasher=None
        )
    except ValueError:
        raise InvalidProof("no public key fits this signature") from None
    return keccak256(point.format(compressed=False)[1:])[12:]


class SigningKey:
    """A secp256k1 private key, for votes or for an account."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: 32 bytes, 1 to n-1. Raises InvalidProof otherwise."""
        if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < CURVE_ORDER:
            raise InvalidProof("a secp256k1 private key is 32 bytes between 1 and the curve order")
        self._key = PrivateKey(secret)
        self.public_key: bytes = self._key.public_key.format(compressed=True)
        self.address: bytes = address_of(self._key.public_key.format(compressed=False))

    @classmethod
    def generate(cls) -> SigningKey:
        """A fresh key from the operating system's randomness. For command lines and tests only."""
        return cls(PrivateKey().secret)

    @property
    def secret(self) -> bytes:
        """The 32 private bytes."""
        return self._key.secret

    def sign_vote(self, message: bytes) -> bytes:
        """64-byte low-s signature over sha256(message), deterministic (RFC 6979)."""
        return self._key.sign_recoverable(sha256(message).digest(), hasher=None)[:64]

    def sign_digest(self, digest: bytes) -> bytes:
        """65-byte recoverable low-s signature over a 32-byte digest, v in {27, 28}, deterministic."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes((signature[64] + 27,))

    def __repr__(self) -> str:
        return f"SigningKey(0x{self.address.hex()})"


def checksum_address(address: bytes) -> str:
    """EIP-55 mixed-case form of 20 bytes. About 2 microseconds, since every JSON form of a transaction needs it twice.

    A hex letter differs from its capital in bit 0x20 and from a digit in bit 0x40: the letters whose nibble of the
    hash is 8 or more lose bit 0x20, all forty at once.
    """
    plain = address.hex().encode()
    marks = int.from_bytes(keccak256(plain)[:20].hex().encode().translate(_EIP55_MARK), "big")
    letters = int.from_bytes(plain, "big")
    return "0x" + (letters ^ ((letters & _EIP55_LETTER) >> 1 & marks)).to_bytes(40, "big").decode()


def parse_address(text: str) -> bytes:
    """20 bytes from an address in hex; mixed case must be its EIP-55 form. Raises ValueError saying why."""
    if len(text) != 42 or not text.startswith("0x") or not text.isalnum():
        raise ValueError(f"an address is 0x and 40 hex digits, not {text!r}")
    try:
        address = bytes.fromhex(text[2:])
    except ValueError:
        raise ValueError(f"an address is 0x and 40 hex digits, not {text!r}") from None
    if len(address) != 20:  # fromhex skips white space
        raise ValueError(f"an address is 0x and 40 hex digits, not {text!r}")
    plain = text[2:]
    if plain not in (plain.lower(), plain.upper()) and checksum_address(address) != text:
        raise ValueError(f"address {text} fails its EIP-55 checksum; check the letters, or write it in lower case")
    return address
