"""The file that `potchain settle claim-proof ADDRESS --out FILE` writes: arguments of the contract's `claim`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from potchain import ConfigError, keccak256, parse_address

CLAIM_BYTES_MAX: Final = 1 << 16
BRANCH_MAX: Final = 64
"""Siblings: a tree has fewer than 2^64 leaves."""
WORD_BYTES: Final = 32
UINT256_MAX: Final = 2**256 - 1

_Word = Annotated[str, Meta(pattern="^0x[0-9a-fA-F]{64}$")]


class _File(msgspec.Struct, frozen=True):
    account: str
    cumulative: Annotated[str, Meta(pattern="^[0-9]{1,78}$")]
    proof: Annotated[tuple[_Word, ...], Meta(max_length=BRANCH_MAX)]
    root: _Word
    contract: str
    chain_id: Annotated[int, Meta(ge=1)]


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What roots of one contract promised to an account, with the branch that proves it."""

    account: bytes
    cumulative: int
    """Base units, of all roots so far."""
    branch: tuple[bytes, ...]
    """Siblings, from the leaf upwards."""
    contract: bytes
    chain_id: int


def read_claim(path: Path) -> Claim:
    """Raises ConfigError, with file and member, when the file is none, or its branch does not lead to its root."""
    try:
        with path.open("rb") as file:
            stated = msgspec.json.decode(file.read(CLAIM_BYTES_MAX), type=_File)
        account, contract = parse_address(stated.account), parse_address(stated.contract)
    except OSError as fault:
        raise ConfigError(f"{path} cannot be read: {fault.strerror}") from None
    except ValueError as fault:  # of msgspec, too
        raise ConfigError(f"{path} is no claim proof: {fault}; `potchain settle claim-proof` writes one") from None
    cumulative = int(stated.cumulative)
    if not 0 < cumulative <= UINT256_MAX:
        raise ConfigError(f"{path} is no claim proof: cumulative is {cumulative}, and must be 1 to 2^256 - 1")
    branch = tuple(bytes.fromhex(node[2:]) for node in stated.proof)
    if _top(account, cumulative, branch) != bytes.fromhex(stated.root[2:]):
        raise ConfigError(
            f"{path} is no claim proof: account, cumulative and proof do not lead to its root {stated.root}; it was "
            f"changed: write it anew with `potchain settle claim-proof`"
        )
    return Claim(account=account, cumulative=cumulative, branch=branch, contract=contract, chain_id=stated.chain_id)


def _top(account: bytes, cumulative: int, branch: tuple[bytes, ...]) -> bytes:
    """The root over a leaf, as the contract computes it (OpenZeppelin MerkleProof, sorted pairs)."""
    node = keccak256(keccak256(account.rjust(WORD_BYTES, b"\x00") + cumulative.to_bytes(WORD_BYTES, "big")))
    for sibling in branch:
        node = keccak256(min(node, sibling) + max(node, sibling))
    return node
