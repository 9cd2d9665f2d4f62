"""Proofs that a stranger checks offline, with nothing but the genesis file.

A proof is a branch, the header it leads to, the header's block certificate, and for each epoch after the first the
boundary header with the certificate by the epoch before, which names the next validators. Checking walks from the
genesis validators forward; nothing in a proof is believed before it is tied to them. A failed check raises
InvalidProof with the reason and never anything else.

The JSON form spells bytes as 0x and lower-case hex, and has exactly the members of the structs, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from potchain import merkle
from potchain.blocks import (
    BlockCertificate,
    BlockHeader,
    EpochLink,
    Receipt,
    TransactionProof,
    block_hash,
    verify_block_certificate,
)
from potchain.canonical_json import from_json, to_json
from potchain.codec import Canonical, decode, encode
from potchain.crypto import digest_of
from potchain.errors import CodecError, InvalidProof, InvalidTransaction
from potchain.genesis import EPOCH_TAG, Epoch
from potchain.primitives import Bytes32, Digest
from potchain.transactions import Transaction, TransactionTypes

EPOCHS_MAX = 10_000
"""Bound on the epoch links of one proof, and so on the work of checking it."""

QuorumOf = Callable[[int], int]
"""Signatures that certify a block, from the number of members: `lambda n: Quorum(n).quorum`."""


class Origin(Protocol):
    """What epochs are followed from: a `Genesis`, or the `Predecessor` in a recovered one."""

    @property
    def hash(self) -> Digest:
        """The genesis hash."""
        ...

    @property
    def first_epoch(self) -> Epoch:
        """The epoch that needs no link."""
        ...


class StateProof(Canonical, frozen=True):
    """Proof that the state after a certified block holds a value under a record key, or nothing."""

    header: BlockHeader
    certificate: BlockCertificate
    key: bytes
    value: bytes | None
    """None: the state has no such record."""
    siblings: tuple[Bytes32, ...]
    """From the root downwards."""
    other_leaf: tuple[Bytes32, Bytes32] | None
    """For an absent key: (key hash, sha256 of value) of the leaf that stands in its place, if any."""
    epochs: tuple[EpochLink, ...]
    """As in TransactionProof."""


class VerifiedInclusion(msgspec.Struct, frozen=True):
    """A transaction that took a place in a certified block. Look at `receipt.status`: it may have been skipped."""

    header: BlockHeader
    transaction: Transaction
    receipt: Receipt


class VerifiedRecord(msgspec.Struct, frozen=True):
    """What the state after a certified block holds under a key."""

    header: BlockHeader
    key: bytes
    value: bytes | None


def build_transaction_proof(
    header: BlockHeader,
    certificate: BlockCertificate,
    bodies: Sequence[bytes],
    transaction_ids: Sequence[bytes],
    receipts: Sequence[Receipt],
    index: int,
    epochs: Sequence[EpochLink] = (),
) -> TransactionProof:
    """The proof of the inclusion at `index` of a certified block. Raises IndexError when there is none."""
    return TransactionProof(
        header=header,
        certificate=certificate,
        transaction=bodies[index],
        index=index,
        transaction_branch=merkle.branch(transaction_ids, index),
        receipt=receipts[index],
        receipt_branch=merkle.branch([encode(receipt) for receipt in receipts], index),
        epochs=tuple(epochs),
    )


def verify_transaction_proof(
    proof: TransactionProof, genesis: Origin, types: TransactionTypes, quorum_of: QuorumOf
) -> VerifiedInclusion:
    """Check everything: epochs, certificate, both branches, the transaction's id and signature. Raises InvalidProof."""
    header = proof.header
    verify_header(header, proof.certificate, proof.epochs, genesis, quorum_of)
    try:
        transaction = types.parse(proof.transaction)
        types.check_signature(transaction)
    except InvalidTransaction as fault:
        raise InvalidProof(f"the transaction in the proof is not valid: {fault}") from None
    if not merkle.verify_branch(transaction.id, proof.index, header.tx_count, proof.transaction_branch, header.tx_root):
        raise InvalidProof(f"transaction 0x{transaction.id.hex()} is not at index {proof.index} under tx_root")
    receipt = proof.receipt
    if receipt.transaction_id != transaction.id or receipt.index != proof.index:
        raise InvalidProof(f"the receipt is of index {receipt.index} and 0x{receipt.transaction_id.hex()}")
    if not merkle.verify_branch(
        encode(receipt), proof.index, header.tx_count, proof.receipt_branch, header.receipts_root
    ):
        raise InvalidProof(f"the receipt is not at index {proof.index} under receipts_root")
    return VerifiedInclusion(header, transaction, receipt)


def verify_state_proof(proof: StateProof, genesis: Origin, quorum_of: QuorumOf) -> VerifiedRecord:
    """Check epochs, certificate and branch. Raises InvalidProof."""
    header = proof.header
    verify_header(header, proof.certificate, proof.epochs, genesis, quorum_of)
    if proof.value is not None and proof.other_leaf is not None:
        raise InvalidProof("the proof has both a value and another leaf in its place")
    if not merkle.verify_state_branch(proof.key, proof.value, proof.siblings, header.state_root, proof.other_leaf):
        claim = "no record" if proof.value is None else "that value"
        raise InvalidProof(f"the branch does not show {claim} under 0x{proof.key.hex()} and state_root")
    return VerifiedRecord(header, proof.key, proof.value)


def verify_header(
    header: BlockHeader,
    certificate: BlockCertificate,
    epochs: Sequence[EpochLink],
    genesis: Origin,
    quorum_of: QuorumOf,
) -> None:
    """Check that validators who follow from genesis certified this header. Raises InvalidProof."""
    *_, epoch = follow_epochs(epochs, genesis, quorum_of)
    _verify_certified(header, certificate, epoch, genesis, quorum_of)


def follow_epochs(links: Sequence[EpochLink], genesis: Origin, quorum_of: QuorumOf) -> tuple[Epoch, ...]:
    """Every epoch from genesis to the one that the last link names, each certified by the one before.

    Raises InvalidProof.
    """
    if len(links) > EPOCHS_MAX:
        raise InvalidProof(f"{len(links)} epoch links, at most {EPOCHS_MAX} are allowed")
    epochs = [genesis.first_epoch]
    for link in links:
        _verify_certified(link.header, link.certificate, epochs[-1], genesis, quorum_of)
        epochs.append(_next_epoch(link, epochs[-1]))
    return tuple(epochs)


def proof_to_json(proof: TransactionProof | StateProof) -> dict[str, Any]:
    """The JSON object of a proof; its `proof` member is "transaction" or "state"."""
    name = "transaction" if isinstance(proof, TransactionProof) else "state"
    return {"proof": name, **to_json(proof)}


def proof_from_json(document: object) -> TransactionProof | StateProof:
    """A proof from its JSON object; nothing is verified yet. Raises CodecError that names the member."""
    if not isinstance(document, dict):
        raise CodecError(f"a proof is a JSON object, not {type(document).__name__}")
    members = dict(document)
    name = members.pop("proof", None)
    if name == "transaction":
        return from_json(TransactionProof, members, "the proof")
    if name == "state":
        return from_json(StateProof, members, "the proof")
    raise CodecError(f'the member "proof" must be "transaction" or "state", not {name!r:.40}')


def _verify_certified(
    header: BlockHeader, certificate: BlockCertificate, epoch: Epoch, genesis: Origin, quorum_of: QuorumOf
) -> None:
    if header.genesis_hash != genesis.hash:
        raise InvalidProof(
            f"the header is of the network 0x{header.genesis_hash.hex()}, this genesis file is 0x{genesis.hash.hex()}"
        )
    if header.epoch != epoch.number:
        raise InvalidProof(f"the header is of epoch {header.epoch}, the links lead to epoch {epoch.number}")
    if header.height < epoch.first_sequence:
        raise InvalidProof(
            f"height {header.height} is before epoch {epoch.number}, which begins at {epoch.first_sequence}"
        )
    if (certificate.epoch, certificate.height) != (header.epoch, header.height):
        raise InvalidProof(f"the certificate is of epoch {certificate.epoch} and height {certificate.height}")
    if certificate.block_hash != block_hash(header):
        raise InvalidProof(f"the certificate is of block 0x{certificate.block_hash.hex()}, not of this header")
    verify_block_certificate(certificate, genesis.hash, epoch.keys, quorum_of(len(epoch.members)))


def _next_epoch(link: EpochLink, epoch: Epoch) -> Epoch:
    """The epoch that a boundary block names."""
    if link.header.next_epoch != digest_of(EPOCH_TAG, link.next_epoch):
        raise InvalidProof(f"block {link.header.height} does not name the epoch that follows it in the proof")
    try:
        following = decode(Epoch, link.next_epoch)
    except CodecError as fault:
        raise InvalidProof(f"the epoch after block {link.header.height}: {fault}") from None
    if following.number != epoch.number + 1 or following.first_sequence != link.header.height + 1:
        raise InvalidProof(f"epoch {following.number} from {following.first_sequence} does not follow {epoch.number}")
    if not following.members:
        raise InvalidProof(f"epoch {following.number} has no members")
    return following
