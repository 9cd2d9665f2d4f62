"""Key files. Validator keys are plain files that only their owner may read; account keys are Web3 V3 keystores.

A node must start without a person beside it, so its two keys lie unencrypted and the file mode is what protects them:
0600, checked at every load. Keys of accounts hold money and are encrypted with a password. No key is ever overwritten:
files are made with O_EXCL. `eth_keyfile` is imported only when an account file is touched; a node never needs it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from potchain.crypto import SigningKey, parse_address
from potchain.errors import InvalidProof, KeyFileError
from potchain.genesis import Epoch, Validator
from potchain.primitives import NodeId
from potchain.tables import nearest_hint

NODE_KEY_FILE = "node.key"
CONSENSUS_KEY_FILE = "consensus.key"
KEY_FILE_BYTES_MAX = 64 * 1024
"""A longer file is no key file."""
TEST_ITERATIONS = 100
"""PBKDF2 rounds of accounts made for test networks: their password lies in the file beside them, so that more rounds
would cost time (a second for each account) and protect nothing."""

ED25519 = "ed25519"
SECP256K1 = "secp256k1"


class _KeyDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    public: str
    secret: str


class ValidatorKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The two keys that a validator's process holds."""

    node_secret: bytes
    """32-byte Ed25519 private key: TLS identity."""
    node_public: bytes
    consensus: SigningKey
    """Signs every vote."""

    @property
    def node_id(self) -> NodeId:
        """Name inside consensus."""
        return NodeId(self.consensus.address)

    def validator(self, name: str, operator: bytes) -> Validator:
        """The entry of these keys in a genesis."""
        return Validator(
            name=name, node_key=self.node_public, consensus_key=self.consensus.public_key, operator=operator
        )


def create_validator_keys(home: Path) -> ValidatorKeys:
    """Fresh node.key and consensus.key in a home folder. Raises KeyFileError when one is there already."""
    node = Ed25519PrivateKey.generate()
    keys = ValidatorKeys(
        node_secret=node.private_bytes_raw(),
        node_public=node.public_key().public_bytes_raw(),
        consensus=SigningKey.generate(),
    )
    _write_key(home / NODE_KEY_FILE, ED25519, keys.node_public, keys.node_secret)
    _write_key(home / CONSENSUS_KEY_FILE, SECP256K1, keys.consensus.public_key, keys.consensus.secret)
    return keys


def load_validator_keys(home: Path) -> ValidatorKeys:
    """The keys of a home folder.

    Raises KeyFileError: missing, readable by others, malformed, or a public half that is not the secret's.
    """
    node_path, consensus_path = home / NODE_KEY_FILE, home / CONSENSUS_KEY_FILE
    node_public, node_secret = _read_key(node_path, ED25519)
    if Ed25519PrivateKey.from_private_bytes(node_secret).public_key().public_bytes_raw() != node_public:
        raise KeyFileError(f"{node_path} is damaged: its public key is not that of its secret; restore your copy")
    consensus_public, consensus_secret = _read_key(consensus_path, SECP256K1)
    try:
        consensus = SigningKey(consensus_secret)
    except InvalidProof as fault:
        raise KeyFileError(f"{consensus_path} is damaged: {fault}; restore your copy") from None
    if consensus.public_key != consensus_public:
        raise KeyFileError(f"{consensus_path} is damaged: its public key is not that of its secret; restore your copy")
    return ValidatorKeys(node_secret=node_secret, node_public=node_public, consensus=consensus)


def member_of(epoch: Epoch, keys: ValidatorKeys) -> Validator | None:
    """The validator that belongs to these keys; None: they belong to none of the epoch, and the node observes.

    Raises KeyFileError when only one of the two keys fits.
    """
    for validator in epoch.members:
        if validator.consensus_key == keys.consensus.public_key:
            if validator.node_key != keys.node_public:
                raise KeyFileError(
                    f"node.key is not the one that epoch {epoch.number} names for validator {validator.name!r}; "
                    f"the epoch has 0x{validator.node_key.hex()}, the file 0x{keys.node_public.hex()}"
                )
            return validator
    return None


def create_account_file(path: Path, key: SigningKey, password: str, *, iterations: int | None = None) -> None:
    """Write a V3 keystore, mode 0600. `iterations`: PBKDF2 rounds, by default eth-keyfile's (about a second).

    Raises KeyFileError when the file is there already or the password is empty.
    """
    from eth_keyfile import keyfile

    if not password:
        raise KeyFileError("an empty password protects nothing; choose one")
    document = keyfile.create_keyfile_json(key.secret, password.encode(), kdf="pbkdf2", iterations=iterations)
    write_secret(path, msgspec.json.encode(document) + b"\n")


def load_account_key(path: Path, password: str) -> SigningKey:
    """Decrypt a V3 keystore.

    Raises KeyFileError: missing, no keystore, wrong password, or an address that is not its key's.
    """
    from eth_keyfile import keyfile

    document = _account_document(path)
    try:
        key = SigningKey(bytes(keyfile.decode_keyfile_json(document, password.encode())))
    except (ValueError, KeyError, TypeError, InvalidProof) as fault:
        if "MAC mismatch" in str(fault):
            raise KeyFileError(f"wrong password for {path}") from None
        raise KeyFileError(f"{path} is no Web3 V3 keystore: {fault}") from None
    stated = _account_address(document)
    if stated is not None and stated != key.address:
        raise KeyFileError(f"{path} names address 0x{stated.hex()}, but its key is that of 0x{key.address.hex()}")
    return key


def read_password(path: Path) -> str:
    """The password in a file, without white space around it.

    Raises KeyFileError: missing, readable by others, empty, or no text.
    """
    try:
        password = _read(path, private=True).decode().strip()
    except UnicodeDecodeError:
        raise KeyFileError(f"{path} is no text; a password file holds one line") from None
    if not password:
        raise KeyFileError(f"{path} is empty; it must hold the keystore's password")
    return password


def account_file_address(path: Path) -> bytes:
    """Address that a keystore names, without its password. Raises KeyFileError."""
    address = _account_address(_account_document(path))
    if address is None:
        raise KeyFileError(f"{path} names no address; it is shown only by commands that decrypt the file")
    return address


def write_secret(path: Path, data: bytes) -> None:
    """Make a file that only its owner may read. Raises KeyFileError when it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(f"{path} exists already and keys are never overwritten; choose another path") from None
    except OSError as fault:
        raise KeyFileError(f"cannot write {path}: {fault.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _write_key(path: Path, kind: str, public: bytes, secret: bytes) -> None:
    document = _KeyDocument(type=kind, public="0x" + public.hex(), secret="0x" + secret.hex())
    write_secret(path, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def _read_key(path: Path, kind: str) -> tuple[bytes, bytes]:
    """(public, secret)"""
    data = _read(path, private=True)
    try:
        document = msgspec.json.decode(data, type=_KeyDocument)
        if document.type != kind:
            raise KeyFileError(f"{path} holds a key of type {document.type!r}; this one must be {kind}")
        public = bytes.fromhex(document.public.removeprefix("0x"))
        secret = bytes.fromhex(document.secret.removeprefix("0x"))
        if len(secret) != 32:
            raise ValueError(f"its secret has {len(secret)} bytes, not 32")
    except (msgspec.DecodeError, ValueError) as fault:
        raise KeyFileError(f"{path} is no key file of this program: {fault}; restore your copy") from None
    return public, secret


def _read(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if private and mode & 0o077:
                raise KeyFileError(
                    f"{path} may be read by others (mode {mode:04o}); make it yours alone with: chmod 600 {path}"
                )
            data = file.read(KEY_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = f" ({nearest_hint(path.name, near)})" if 0 < len(near) <= 20 else ""
        raise KeyFileError(f"key file {path} does not exist{hint}") from None
    except OSError as fault:
        raise KeyFileError(f"cannot read key file {path}: {fault.strerror}") from None
    if len(data) > KEY_FILE_BYTES_MAX:
        raise KeyFileError(f"{path} has more than {KEY_FILE_BYTES_MAX} bytes; it is no key file")
    return data


def _account_document(path: Path) -> dict[str, object]:
    try:
        document = msgspec.json.decode(_read(path, private=False))
    except msgspec.DecodeError as fault:
        raise KeyFileError(f"{path} is no Web3 V3 keystore: {fault}") from None
    if not isinstance(document, dict) or document.get("version") != 3:
        raise KeyFileError(f"{path} is no Web3 V3 keystore: it has no version 3")
    return document


def _account_address(document: dict[str, object]) -> bytes | None:
    stated = document.get("address")
    if not isinstance(stated, str):
        return None
    try:
        return parse_address("0x" + stated.removeprefix("0x").lower())
    except ValueError:
        return None
