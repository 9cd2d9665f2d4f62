"""Transactions: EIP-712 primary types, one per kind of action, signed by Ethereum accounts.

A kind is a struct whose first members are `from_`, `nonce`, `fee`, `valid_until` and that goes on with its own. Its
EIP-712 type follows from its annotations, so a wallet shows the signer every member. The id of a transaction is its
EIP-712 digest: no signature byte is part of it, so a second signature cannot give a second id.

The domain is {name "potchain", version "1", salt = genesis hash}, without a chain id: wallets refuse typed data whose
chain id is not their active chain, and the salt binds the network already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from hashlib import sha256
from operator import attrgetter
from typing import Any, get_type_hints

import msgspec

from potchain.codec import Canonical, decode, encode
from potchain.crypto import SigningKey, keccak256, recover_address
from potchain.errors import CodecError, InvalidProof, InvalidTransaction
from potchain.primitives import Address, Bytes, Digest, Signature65, StoredUint64, Uint64, Uint256, uint

DOMAIN_NAME = "potchain"
DOMAIN_VERSION = "1"
TRANSACTION_BYTES_MAX = 64 * 1024
"""Bound on the canonical bytes of one signed transaction."""
MEMO_BYTES_MAX = 64
"""Bound on the memo of a transfer."""


class TransactionBody(Canonical, frozen=True):
    """The members that every kind begins with."""

    from_: Address
    """Who pays, and whose nonce this is."""
    nonce: StoredUint64
    """Count of earlier executed transactions of this account."""
    fee: Uint256
    """Paid to the treasury when the transaction takes its place, whether or not its action succeeds."""
    valid_until: Uint64
    """Last block time (Unix ms) at which it may execute; 0 for no limit."""


class Transfer(TransactionBody, frozen=True):
    """Moves an amount between two accounts."""

    to: Address
    """Receiver; the zero address is refused."""
    amount: Uint256
    """In base units; more than zero."""
    memo: Bytes
    """At most 64 bytes for the reader of the history."""


class SignedTransaction(Canonical, frozen=True):
    """What travels between nodes and lies on disk: the kind's name, the body's canonical bytes, the signature."""

    kind: str
    body: bytes
    signature: Signature65


_decode_signed = msgspec.msgpack.Decoder(SignedTransaction).decode


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """A parsed transaction. Its signature may not have been checked yet: `TransactionTypes.check_signature`."""

    id: Digest
    kind: str
    body: TransactionBody
    signature: bytes
    raw: bytes
    """Canonical bytes of the SignedTransaction."""
    sender: bytes
    nonce: int
    fee: int
    valid_until: int


class Member(msgspec.Struct, frozen=True):
    """One member of a kind: its name in Python, in EIP-712, and its EIP-712 type."""

    field: str
    name: str
    type: str
    """Of its value."""
    signed_as: str
    """Of what is signed: another one where a hash stands for the value (`primitives.LargeBytes`)."""


_EMPTY_KECCAK = keccak256(b"")
_ADDRESS_PADDING = b"\x00" * 12

_WORD: dict[str, Callable[[Any], bytes]] = {
    "address": _ADDRESS_PADDING.__add__,
    "uint64": lambda value: value.to_bytes(32, "big"),
    "uint256": bytes,
    "bytes32": bytes,
    "bytes": lambda value: keccak256(value) if value else _EMPTY_KECCAK,
    "string": lambda value: keccak256(value.encode()),
}
"""encodeData of each member type we allow (EIP-712, "Definition of encodeData")."""


def _word_of(member: Member) -> Callable[[Any], bytes]:
    return _WORD[member.type] if member.signed_as == member.type else _sha256


def _sha256(value: bytes) -> bytes:
    return sha256(value).digest()


@cache
def members_of(struct: type[msgspec.Struct]) -> tuple[Member, ...]:
    """The EIP-712 members that a struct's annotations declare, in order.

    Raises TypeError when a field has no EIP-712 type: that is a mistake of the plug-in's author.
    """
    hints = get_type_hints(struct, include_extras=True)
    members = []
    for field in struct.__struct_fields__:
        meta = next((meta for meta in getattr(hints[field], "__metadata__", ()) if meta.title), None)
        if meta is None or meta.title not in _WORD:
            raise TypeError(f"{struct.__name__}.{field}: annotate it with a type of potchain.primitives")
        first, *rest = field.rstrip("_").split("_")
        name = first + "".join(word.title() for word in rest)
        signed_as = (meta.extra or {}).get("signed_as", meta.title)
        members.append(Member(field=field, name=name, type=meta.title, signed_as=signed_as))
    return tuple(members)


class TransactionKind:
    """One primary type: how to hash it."""

    def __init__(self, body_type: type[TransactionBody]) -> None:
        self.name = body_type.__name__
        self.body_type = body_type
        self.decode: Callable[[bytes], TransactionBody] = msgspec.msgpack.Decoder(body_type).decode
        """A body from bytes that are known to be canonical."""
        self.members = members_of(body_type)
        declared = ",".join(f"{member.signed_as} {member.name}" for member in self.members)
        self.encode_type = f"{self.name}({declared})"
        self._type_hash = keccak256(self.encode_type.encode())
        self._values = attrgetter(*(member.field for member in self.members))
        self._words = tuple(map(_word_of, self.members))

    def hash_struct(self, body: TransactionBody) -> bytes:
        """EIP-712 hashStruct."""
        words = [word(value) for word, value in zip(self._words, self._values(body), strict=True)]
        return keccak256(self._type_hash + b"".join(words))


class TransactionTypes:
    """The kinds that a network knows, bound to its genesis. Immutable; safe to use from several threads."""

    def __init__(self, body_types: Iterable[type[TransactionBody]], genesis_hash: bytes) -> None:
        self.genesis_hash = genesis_hash
        self.kinds = {kind.name: kind for kind in map(TransactionKind, body_types)}
        self._prefix = b"\x19\x01" + domain_separator(genesis_hash)

    def digest(self, body: TransactionBody) -> Digest:
        """The EIP-712 digest of a body: what the account signs, and the transaction's id."""
        kind = self.kinds[type(body).__name__]
        return Digest(keccak256(self._prefix + kind.hash_struct(body)))

    def parse(self, raw: bytes) -> Transaction:
        """A transaction from its canonical bytes, signature unchecked.

        Raises InvalidTransaction: `oversize`, `malformed` or `unknown_kind`.
        """
        if len(raw) > TRANSACTION_BYTES_MAX:
            raise InvalidTransaction("oversize", f"{len(raw)} bytes, at most {TRANSACTION_BYTES_MAX} are allowed")
        try:
            signed = decode(SignedTransaction, raw)
            kind = self.kind(signed.kind)
            body = decode(kind.body_type, signed.body)
        except CodecError as fault:
            raise InvalidTransaction("malformed", str(fault)) from None
        return self._transaction(kind, body, signed.signature, raw)

    def body_of(self, raw: bytes) -> TransactionBody:
        """The body of a transaction that was parsed before: nothing is checked or hashed again."""
        signed = _decode_signed(raw)
        return self.kinds[signed.kind].decode(signed.body)

    def assemble(self, body: TransactionBody, signature: bytes) -> Transaction:
        """A transaction from a body and a signature, signature unchecked. Raises InvalidTransaction."""
        kind = self.kind(type(body).__name__)
        if len(signature) != 65:
            raise InvalidTransaction("bad_signature", f"a signature has 65 bytes, this one {len(signature)}")
        raw = encode(SignedTransaction(kind=kind.name, body=encode(body), signature=signature))
        if len(raw) > TRANSACTION_BYTES_MAX:
            raise InvalidTransaction("oversize", f"{len(raw)} bytes, at most {TRANSACTION_BYTES_MAX} are allowed")
        return self._transaction(kind, body, signature, raw)

    def sign(self, body: TransactionBody, key: SigningKey) -> Transaction:
        """A transaction signed by `key`. Raises InvalidTransaction when the key is not the sender's."""
        if key.address != body.from_:
            raise InvalidTransaction("bad_signature", f"key 0x{key.address.hex()} is not 0x{body.from_.hex()}")
        return self.assemble(body, key.sign_digest(self.digest(body)))

    def check_signature(self, transaction: Transaction) -> None:
        """Recover the signer and compare. Raises InvalidTransaction(`bad_signature`). About 60 microseconds."""
        try:
            signer = recover_address(transaction.id, transaction.signature)
        except InvalidProof as fault:
            raise InvalidTransaction("bad_signature", str(fault)) from None
        if signer != transaction.sender:
            raise InvalidTransaction(
                "bad_signature",
                f"signed by 0x{signer.hex()}, not by from 0x{transaction.sender.hex()}; a signature for another "
                f"network (this one has salt 0x{self.genesis_hash.hex()}) or over other values looks like this too",
            )

    def kind(self, name: str) -> TransactionKind:
        """The kind of that name. Raises InvalidTransaction(`unknown_kind`)."""
        kind = self.kinds.get(name)
        if kind is None:
            known = ", ".join(sorted(self.kinds))
            raise InvalidTransaction("unknown_kind", f"unknown transaction kind {name!r} (known: {known})")
        return kind

    def _transaction(
        self, kind: TransactionKind, body: TransactionBody, signature: bytes, raw: bytes
    ) -> Transaction:
        return Transaction(
            id=Digest(keccak256(self._prefix + kind.hash_struct(body))),
            kind=kind.name,
            body=body,
            signature=signature,
            raw=raw,
            sender=body.from_,
            nonce=body.nonce,
            fee=uint(body.fee),
            valid_until=body.valid_until,
        )


def domain_separator(genesis_hash: bytes) -> bytes:
    """hashStruct of the EIP-712 domain of the network with that genesis hash."""
    type_hash = keccak256(b"EIP712Domain(string name,string version,bytes32 salt)")
    return keccak256(
        type_hash + keccak256(DOMAIN_NAME.encode()) + keccak256(DOMAIN_VERSION.encode()) + genesis_hash
    )
