"""What peers send that carries signatures: parsed and checked before the replica sees it.

A vote's own signature is checked in place: handing it to a thread costs more than the check (docs/adr).
Transactions go to the worker processes. Bundles of shares, and blocks and certificates of catch-up, are checked on a
thread: they are few and large.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from coincurve import PublicKey

from potchain.blocks import (
    BLOCK_VOTE,
    BlockCertificate,
    SyncBlock,
    proposal_digest,
    proposal_fault,
    verify_block_certificate,
    vote_bytes,
)
from potchain.consensus.interface import ConsensusMessage, EngineFactory
from potchain.consensus.quorum import Quorum
from potchain.crypto import verify_vote
from potchain.dissemination import Reassembled, Share, own_share, reassemble, share_fault, signer_of
from potchain.driver.verifier import SignatureChecks
from potchain.errors import CodecError, InvalidProof, InvalidTransaction
from potchain.genesis import Epoch
from potchain.primitives import Digest, NodeId
from potchain.replica import Replica
from potchain.replica.actions import BlocksVerified, CertificatesVerified, DecodeBundle
from potchain.replica.wire import SIGNED_MESSAGES_MAX, SignedAnswer
from potchain.transactions import Transaction, TransactionTypes

NestedSignatures = tuple[tuple[NodeId, bytes, bytes], ...]
"""Signer, signed bytes, signature; as `EngineFactory.signed_parts` gives them."""
VoteCheck = Callable[[PublicKey, bytes, bytes], bool]
"""As `crypto.verify_vote`: key, signed bytes, signature."""
Reassemble = Callable[[DecodeBundle], Reassembled | None]
"""As `reassembled`. The outcome is the same from any of a bundle's shares: a simulator may remember it by bundle."""


CHECKED_MAX = 1_024
"""Messages whose nested signatures are remembered as good: view changes are sent again every second. And as many
heads of bundles: each comes with every share."""
DECODED_IN_PLACE_BYTES_MAX = 16 * 1024
"""A larger bundle is decoded on a thread; 1 MB takes 20 ms with 50 shares and 40 ms with 100."""


class Incoming:
    """Checks for one node."""

    def __init__(
        self,
        types: TransactionTypes,
        engine: EngineFactory,
        verifier: SignatureChecks,
        verify: VoteCheck = verify_vote,
        reassemble: Reassemble | None = None,
    ) -> None:
        """`verify` checks one vote, `reassemble` decodes a bundle; a simulator's remember across its nodes."""
        self._types = types
        self._engine = engine
        self._verifier = verifier
        self._verify = verify
        self._reassemble = reassemble or reassembled
        self._checked: dict[bytes, None] = {}
        self._vouched: dict[Digest, bytes] = {}

    def message(
        self, message: ConsensusMessage, epoch: Epoch, replica: Replica
    ) -> tuple[NestedSignatures, str | None]:
        """Check a consensus message's own signature, in place; signatures nested in it, and a fault of the sender.

        `epoch` is the message's own (`KnownEpochs.of_message`).
        """
        key = epoch.keys.get(NodeId(message.sender))
        if key is None:
            return (), f"{message.kind} by a stranger to epoch {epoch.number}"
        signed = vote_bytes(
            replica.genesis.hash,
            message.epoch,
            message.kind,
            message.view,
            message.sequence,
            message.digest,
            message.sender,
        )
        sent_again = replica.returning.heard.holds(message)
        if not (sent_again or self._verify(key, signed, message.signature)):
            return (), f"bad signature on {message.kind}"
        if message.kind == BLOCK_VOTE:
            # A certificate's signatures are over view 0: a vote with another view would spoil it for everybody.
            return (), "a block vote with a body or a view" if message.body or message.view else None
        if message.signature in self._checked:
            return (), None  # a view change that is sent again; the engine compares body and signed digest
        try:
            return self._engine.signed_parts(message, replica.genesis.hash, epoch), None
        except CodecError as fault:
            return (), str(fault)

    async def nested(self, message: ConsensusMessage, nested: NestedSignatures, epoch: Epoch) -> str | None:
        """Check the signatures inside a message, off the loop; the first that is no good, in words."""
        fault = await asyncio.to_thread(self._nested_fault, nested, epoch)
        if fault is None:
            self._checked[message.signature] = None
            if len(self._checked) > CHECKED_MAX:
                del self._checked[next(iter(self._checked))]
        return fault

    async def transactions(
        self, raws: tuple[bytes, ...], replica: Replica, *, past_bad_ones: bool = False
    ) -> tuple[tuple[Transaction, ...], str | None]:
        """Those that are new or wanted and good; and a fault of the sender, if any, who sent the bad ones himself
        unless `past_bad_ones`."""
        fault = None
        found: dict[bytes, Transaction] = {}
        for raw in raws:
            try:
                transaction = self._types.parse(raw)
            except InvalidTransaction as refusal:
                fault = f"bad transaction: {refusal}"
                if past_bad_ones:
                    continue
                break  # no correct peer sends one: the rest is not worth the work
            if replica.pool.get(transaction.id) is None and not self._verifier.is_under_way(transaction):
                found[transaction.id + transaction.signature] = transaction
        if not found:
            return (), fault
        fresh = list(found.values())
        try:
            refusals = await self._verifier.check(fresh)
        except InvalidTransaction:
            return (), fault  # too busy: what is needed will be fetched
        good = tuple(t for t, refusal in zip(fresh, refusals, strict=True) if refusal is None)
        if len(good) < len(fresh):
            fault = "transaction with a bad signature"
        return good, fault

    def share(self, bundle: Digest, share: Share) -> tuple[bytes, str | None]:
        """Check a share, in place: the account that signed its bundle, and a fault of the sender, if any."""
        fault = share_fault(share)
        if fault is not None:
            return b"", fault
        account = self._vouched.get(bundle)
        if account is None:
            try:
                account = self._vouched[bundle] = signer_of(bundle, share)
            except InvalidProof as refusal:
                return b"", f"bundle with a bad signature: {refusal}"
            if len(self._vouched) > CHECKED_MAX:
                del self._vouched[next(iter(self._vouched))]
        return account, None

    async def bundle(self, action: DecodeBundle) -> tuple[tuple[bytes, ...], Share | None, str]:
        """Its transactions, unparsed; the node's own share, if it has a place; or why all nodes refuse the bundle."""
        if action.head.bundle_bytes > DECODED_IN_PLACE_BYTES_MAX:
            found = await asyncio.to_thread(self._reassemble, action)
        else:
            found = self._reassemble(action)
        if found is None:
            return (), None, "its shares are of no one bundle, or it is no list of transactions"
        if action.place is None or action.place >= action.head.shares:
            return found.transactions, None, ""  # coded for an epoch of other members
        return found.transactions, own_share(action.head, action.signature, found.blocks, action.place), ""

    async def blocks(
        self, peer: NodeId, blocks: tuple[SyncBlock, ...], replica: Replica
    ) -> tuple[BlocksVerified, str | None]:
        """The consecutive good prefix of an answer, as far as its epochs have begun here; and a fault, if any."""
        parsed = []
        fault = None
        for block in blocks:
            header = block.proposal.header
            epoch = replica.epochs.at(header.sequence)
            if epoch is None or header.epoch > epoch.number:
                break  # nobody can check it before the block that ends the epoch is executed and certified here
            try:
                transactions = self._bodies_of(block)
                refusals = await self._verifier.check([each for each in transactions if not _is_held(each, replica)])
                if any(refusals):
                    raise InvalidProof("a transaction in it has a bad signature")
                await asyncio.to_thread(self._check_block, block, replica.genesis.hash, epoch)
            except (InvalidProof, InvalidTransaction) as refusal:
                if isinstance(refusal, InvalidTransaction) and refusal.code == "pool_full":
                    break  # this node is too busy; that is not the sender's fault
                fault = f"bad block {header.sequence} in catch-up: {refusal}"
                break
            parsed.append(transactions)
        return BlocksVerified(peer, blocks[: len(parsed)], tuple(parsed)), fault

    async def certificates(
        self, certificates: tuple[BlockCertificate, ...], replica: Replica
    ) -> tuple[CertificatesVerified, str | None]:
        """The good ones; and a fault of the sender, if any."""
        good = []
        fault = None
        for certificate in certificates:
            epoch = replica.epochs.at(certificate.height)
            if epoch is None or certificate.epoch > epoch.number:
                continue
            try:
                await asyncio.to_thread(_check_certificate, certificate, replica.genesis.hash, epoch)
                good.append(certificate)
            except InvalidProof as refusal:
                fault = str(refusal)
        return CertificatesVerified(tuple(good)), fault

    def signed_answer(
        self, answer: SignedAnswer, replica: Replica
    ) -> tuple[SignedAnswer | None, str | None]:
        """Check, in place, what a peer holds of this node's own messages; without a certificate of an epoch long over.

        That of a later epoch cannot be checked yet and comes back as it is; the replica does not believe it.
        """
        epochs = {epoch.number: epoch for epoch in replica.epochs.near if epoch is not replica.epochs.pending}
        if len(answer.messages) > SIGNED_MESSAGES_MAX:
            return None, f"an answer with {len(answer.messages)} messages, at most {SIGNED_MESSAGES_MAX} are allowed"
        for message in answer.messages:
            key = replica.epoch.keys.get(replica.me)
            signed = vote_bytes(
                replica.genesis.hash, message.epoch, message.kind, message.view, message.sequence, message.digest,
                message.sender,
            )  # fmt: skip
            if message.sender != replica.me or message.body or key is None:
                return None, f"an answer with a {message.kind[:32]!r} that is not this node's, or has a body"
            if not self._verify(key, signed, message.signature):
                return None, f"an answer with a bad signature on a {message.kind[:32]!r}"
        certificate = answer.certificate
        if certificate is None or certificate.epoch > replica.epoch.number:
            return answer, None
        epoch = epochs.get(certificate.epoch)
        if epoch is None:
            return msgspec.structs.replace(answer, certificate=None), None
        try:
            _check_certificate(certificate, replica.genesis.hash, epoch)
        except InvalidProof as refusal:
            return None, str(refusal)
        return answer, None

    def _bodies_of(self, block: SyncBlock) -> tuple[Transaction, ...]:
        transactions = tuple(self._types.parse(raw) for raw in block.bodies)
        if tuple(transaction.id for transaction in transactions) != block.proposal.transaction_ids:
            raise InvalidProof("its bodies are not the proposal's")
        return transactions

    def _check_block(self, block: SyncBlock, genesis_hash: bytes, epoch: Epoch) -> None:
        header = block.proposal.header
        if header.epoch != epoch.number:
            raise InvalidProof(f"it is of epoch {header.epoch}, not {epoch.number}")
        # The certificate is for a digest, and the digest covers the header alone.
        fault = proposal_fault(block.proposal)
        if fault is not None:
            raise InvalidProof(fault)
        self._engine.verify(block.order_certificate, genesis_hash, epoch, header.sequence, proposal_digest(header))
        if block.block_certificate is not None:
            if block.block_certificate.height != header.sequence:
                raise InvalidProof("its block certificate is for another height")
            _check_certificate(block.block_certificate, genesis_hash, epoch)

    def _nested_fault(self, nested: NestedSignatures, epoch: Epoch) -> str | None:
        for signer, signed, signature in nested:
            key = epoch.keys.get(signer)
            if key is None or not self._verify(key, signed, signature):
                return f"bad signature inside, by {epoch.name_of(signer)}"
        return None


def reassembled(action: DecodeBundle) -> Reassembled | None:
    """The bundle, from the shares that this node has; None: it is inconsistent."""
    return reassemble(action.head, action.shares)


def _check_certificate(certificate: BlockCertificate, genesis_hash: bytes, epoch: Epoch) -> None:
    if certificate.epoch != epoch.number:
        raise InvalidProof(f"block certificate of epoch {certificate.epoch}")
    verify_block_certificate(certificate, genesis_hash, epoch.keys, Quorum(len(epoch.members)).quorum)


def _is_held(transaction: Transaction, replica: Replica) -> bool:
    """Whether this very transaction was checked here: the id alone says nothing of the signature."""
    held = replica.pool.get(transaction.id)
    return held is not None and held.raw == transaction.raw
