"""Keys that are the same in every run: made from what they are for, and worth nothing outside a simulation."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from potchain.crypto import SigningKey
from potchain.genesis import Validator
from potchain.keyfiles import ValidatorKeys


@cache
def repeatable_keys(scope: str, name: str) -> ValidatorKeys:
    """The keys of a node; `scope` keeps simulations and experiments apart."""
    node = Ed25519PrivateKey.from_private_bytes(_secret(scope, "node", name))
    return ValidatorKeys(
        node_secret=node.private_bytes_raw(),
        node_public=node.public_key().public_bytes_raw(),
        consensus=SigningKey(_secret(scope, "consensus", name)),
    )


def repeatable_validator(scope: str, name: str, shown: str, operator: bytes | None = None) -> Validator:
    """The genesis entry of a node that is shown under another name, with an operator's account of its own, of which
    nobody has a key, or the one that is given."""
    return repeatable_keys(scope, name).validator(shown, operator or _secret(scope, "operator", name)[:20])


def _secret(scope: str, purpose: str, name: str) -> bytes:
    return sha256(f"potchain {scope} {purpose} {name}".encode()).digest()
