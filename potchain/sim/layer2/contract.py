"""PotSettlement in Python, as far as the ledger uses it: what a call does to the contract, or why it is refused. Pure.

Written from the contract's documentation, not from the ledger's code: a call brings recipients, amounts and signatures,
and the contract works the digest out with its own nonce and epoch. Signatures are real ones. Money is a number: nobody
pulls it out, so what was ever credited to an account can be looked up at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import msgspec

from potchain.codec import Canonical, encode
from potchain.crypto import keccak256, recover_address
from potchain.errors import InvalidProof, PotchainError
from potchain.primitives import UINT256_MAX, uint256
from potchain.settlement import (
    Action,
    BatchSeen,
    Contract,
    DepositSeen,
    Entry,
    PauseSeen,
    RootSeen,
    RotationSeen,
    multisig_digest,
)
from potchain.settlement.actions import ENTRIES_MAX, OWNERS_MAX, owners_hash

SIGNATURE_BYTES = 65
ZERO = bytes(20)


class Reverted(PotchainError):
    """The contract refuses a call; the text names its error."""


class Call(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Call data. Members that a function does not have stay as they are."""

    function: str
    """"deposit", "executeBatch", "commitRoot", "rotateOwners", "setPaused" or "claim"."""
    nonce: int = 0
    accounts: tuple[bytes, ...] = ()
    """executeBatch: recipients; rotateOwners: owners; deposit, claim: the one account."""
    amounts: tuple[int, ...] = ()
    """executeBatch: what each recipient gets; deposit: the one amount."""
    total: int = 0
    """commitRoot: the sum of what it adds; claim: the cumulative amount."""
    root: bytes = bytes(32)
    threshold: int = 0
    paused: bool = False
    proof: tuple[bytes, ...] = ()
    signatures: bytes = b""


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """The contract's storage. Mappings are never changed in place."""

    owners: tuple[bytes, ...]
    """Sorted."""
    threshold: int
    next_nonce: int = 0
    next_event: int = 0
    epoch: int = 0
    deposited: int = 0
    allocated: int = 0
    paused: bool = False
    credits: Mapping[bytes, int] = {}
    """Base units ever credited to each account, claims among them."""
    root: bytes = bytes(32)
    claimed: Mapping[bytes, int] = {}
    """Of that, by claims."""


Emitted = tuple[str, bytes]
"""Kind and payload of an event with an event nonce (`potchain.settlement.events`)."""


def executed(contract: Contract, book: Book, call: Call, sender: bytes) -> tuple[Book, Emitted | None]:
    """The storage after a call, and its event. Raises Reverted."""
    if call.function == "deposit":
        return _deposit(book, call)
    if call.function == "claim":
        return _claim(book, call), None
    action = _asked_for(book, call)
    _check_signatures(book, multisig_digest(contract, action), call.signatures)
    return _DOES[call.function](msgspec.structs.replace(book, next_nonce=book.next_nonce + 1), action, sender)


def call_of(action: Action, signatures: Iterable[bytes]) -> Call:
    """What a relayer sends for an action."""
    joined = b"".join(signatures)
    if action.kind == "batch":
        return Call(
            function="executeBatch",
            nonce=action.nonce,
            accounts=tuple([entry.account for entry in action.entries]),
            amounts=tuple([int.from_bytes(entry.amount, "big") for entry in action.entries]),
            signatures=joined,
        )
    if action.kind == "root":
        return Call(
            function="commitRoot", nonce=action.nonce, root=action.root, total=action.total, signatures=joined
        )
    if action.kind == "rotate":
        return Call(
            function="rotateOwners",
            nonce=action.nonce,
            accounts=action.owners,
            threshold=action.threshold,
            signatures=joined,
        )
    return Call(function="setPaused", nonce=action.nonce, paused=action.paused, signatures=joined)


def _deposit(book: Book, call: Call) -> tuple[Book, Emitted]:
    (account,), (amount,) = call.accounts, call.amounts
    if account == ZERO or amount <= 0:
        raise Reverted("ZeroAddress()" if account == ZERO else "ZeroAmount()")
    changed = msgspec.structs.replace(book, deposited=book.deposited + amount)
    return _emit(changed, "deposit", DepositSeen(account, uint256(amount)))


def _claim(book: Book, call: Call) -> Book:
    (account,) = call.accounts
    node = keccak256(keccak256(account.rjust(32, b"\0") + call.total.to_bytes(32, "big")))
    for sibling in call.proof:
        node = keccak256(min(node, sibling) + max(node, sibling))
    if node != book.root:
        raise Reverted("InvalidProof()")
    due = call.total - book.claimed.get(account, 0)
    if due <= 0:
        raise Reverted("NothingToClaim()")
    return msgspec.structs.replace(
        book,
        credits={**book.credits, account: book.credits.get(account, 0) + due},
        claimed={**book.claimed, account: call.total},
    )


def _asked_for(book: Book, call: Call) -> Action:
    """The action whose digest owners must have signed: in the contract's own epoch. Raises Reverted."""
    if call.nonce != book.next_nonce:
        raise Reverted(f"WrongNonce({call.nonce}, {book.next_nonce})")
    entries: tuple[Entry, ...] = ()
    if call.function == "executeBatch":
        if len(call.accounts) != len(call.amounts) or not 0 < len(call.accounts) <= ENTRIES_MAX:
            raise Reverted("WrongLength()")
        if any(not 0 < amount <= UINT256_MAX for amount in call.amounts) or ZERO in call.accounts:
            raise Reverted("ZeroAmount()")
        pairs = zip(call.accounts, call.amounts, strict=True)
        entries = tuple([Entry(account, uint256(amount)) for account, amount in pairs])
    elif call.function == "commitRoot":
        entries = (Entry(ZERO, uint256(call.total)),)  # of its entries a root's digest has the sum alone
    kinds = {"executeBatch": "batch", "commitRoot": "root", "rotateOwners": "rotate", "setPaused": "pause"}
    return Action(
        nonce=call.nonce,
        epoch=book.epoch,
        kind=kinds[call.function],
        height=0,
        entries=entries,
        root=call.root,
        owners=call.accounts if call.function == "rotateOwners" else (),
        threshold=call.threshold,
        paused=call.paused,
    )


def _check_signatures(book: Book, digest: bytes, signatures: bytes) -> None:
    if len(signatures) % SIGNATURE_BYTES:
        raise Reverted("WrongSignaturesLength()")
    parts = [signatures[at : at + SIGNATURE_BYTES] for at in range(0, len(signatures), SIGNATURE_BYTES)]
    if len(parts) < book.threshold:
        raise Reverted(f"TooFewSignatures({len(parts)}, {book.threshold})")
    signers = [_signer(digest, part) for part in parts]
    if any(signer not in book.owners for signer in signers):
        raise Reverted("NotOwner()")
    if any(one >= other for one, other in pairwise(signers)):
        raise Reverted("UnsortedSigners()")


@lru_cache(maxsize=4_096)
def _signer(digest: bytes, signature: bytes) -> bytes:
    try:
        return recover_address(digest, signature)
    except InvalidProof:
        return ZERO


def _batch(book: Book, action: Action, sender: bytes) -> tuple[Book, Emitted]:
    rewards = dict(book.credits)
    for entry in action.entries:
        rewards[entry.account] = rewards.get(entry.account, 0) + int.from_bytes(entry.amount, "big")
    changed = msgspec.structs.replace(_allocated(book, action.total), credits=rewards)
    return _emit(changed, "batch", BatchSeen(action.nonce, uint256(action.total), sender))


def _root(book: Book, action: Action, sender: bytes) -> tuple[Book, Emitted]:
    changed = msgspec.structs.replace(_allocated(book, action.total), root=action.root)
    return _emit(changed, "root", RootSeen(action.nonce, action.root, uint256(action.total), sender))


def _allocated(book: Book, total: int) -> Book:
    if book.paused:
        raise Reverted("EnforcedPause()")
    if book.allocated + total > book.deposited:
        raise Reverted(f"InsufficientDeposits({total}, {book.deposited - book.allocated})")
    return msgspec.structs.replace(book, allocated=book.allocated + total)


def _rotate(book: Book, action: Action, sender: bytes) -> tuple[Book, Emitted]:
    owners = action.owners
    if not 1 <= action.threshold <= len(owners) <= OWNERS_MAX or list(owners) != sorted(set(owners)):
        raise Reverted("WrongOwners()")
    epoch = book.epoch + 1
    changed = msgspec.structs.replace(book, epoch=epoch, owners=owners, threshold=action.threshold)
    return _emit(changed, "rotate", RotationSeen(action.nonce, epoch, owners_hash(owners), action.threshold))


def _pause(book: Book, action: Action, sender: bytes) -> tuple[Book, Emitted]:
    changed = msgspec.structs.replace(book, paused=action.paused)
    return _emit(changed, "pause", PauseSeen(action.nonce, action.paused))


def _emit(book: Book, kind: str, payload: Canonical) -> tuple[Book, Emitted]:
    return msgspec.structs.replace(book, next_event=book.next_event + 1), (kind, encode(payload))


_DOES = {"executeBatch": _batch, "commitRoot": _root, "rotateOwners": _rotate, "setPaused": _pause}


def sorted_signatures(signatures: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Signatures by their owners' addresses, as the contract wants them."""
    return [signature for _, signature in sorted(signatures)]
