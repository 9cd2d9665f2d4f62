"""What peers send that carries signatures of others: parsed and checked before the replica sees it.

Transactions go to the worker processes. Blocks and certificates of catch-up are checked on a thread: they are few and
large, and nobody waits for them but this node.
"""

from __future__ import annotations

import asyncio

from potchain.blocks import BlockCertificate, SyncBlock, proposal_digest, verify_block_certificate
from potchain.consensus.interface import EngineFactory
from potchain.consensus.quorum import Quorum
from potchain.driver.verifier import Verifier
from potchain.errors import InvalidProof, InvalidTransaction
from potchain.genesis import Epoch
from potchain.primitives import NodeId
from potchain.replica import Replica
from potchain.replica.actions import BlocksVerified, CertificatesVerified
from potchain.transactions import Transaction, TransactionTypes


class Incoming:
    """Checks for one node."""

    def __init__(self, types: TransactionTypes, engine: EngineFactory, verifier: Verifier) -> None:
        self._types = types
        self._engine = engine
        self._verifier = verifier

    async def transactions(
        self, raws: tuple[bytes, ...], replica: Replica
    ) -> tuple[tuple[Transaction, ...], str | None]:
        """Those that are new or wanted and good; and a fault of the sender, if any."""
        fault = None
        fresh = []
        for raw in raws:
            try:
                transaction = self._types.parse(raw)
            except InvalidTransaction as refusal:
                fault = f"bad transaction: {refusal}"
                continue
            if replica.pool.get(transaction.id) is None and not self._verifier.is_under_way(transaction.id):
                fresh.append(transaction)
        if not fresh:
            return (), fault
        try:
            refusals = await self._verifier.check(fresh)
        except InvalidTransaction:
            return (), fault  # too busy: what is needed will be fetched
        good = tuple(t for t, refusal in zip(fresh, refusals, strict=True) if refusal is None)
        if len(good) < len(fresh):
            fault = "transaction with a bad signature"
        return good, fault

    async def blocks(
        self, peer: NodeId, blocks: tuple[SyncBlock, ...], replica: Replica
    ) -> tuple[BlocksVerified, str | None]:
        """The consecutive good prefix of an answer; and a fault of the sender, if any."""
        parsed = []
        fault = None
        for block in blocks:
            try:
                transactions = self._bodies_of(block)
                refusals = await self._verifier.check(
                    [each for each in transactions if replica.pool.get(each.id) is None]
                )
                if any(refusals):
                    raise InvalidProof("a transaction in it has a bad signature")
                await asyncio.to_thread(self._check_block, block, replica.genesis.hash, replica.epoch)
            except (InvalidProof, InvalidTransaction) as refusal:
                fault = f"bad block {block.proposal.header.sequence} in catch-up: {refusal}"
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
            try:
                await asyncio.to_thread(_check_certificate, certificate, replica.genesis.hash, replica.epoch)
                good.append(certificate)
            except InvalidProof as refusal:
                fault = str(refusal)
        return CertificatesVerified(tuple(good)), fault

    def _bodies_of(self, block: SyncBlock) -> tuple[Transaction, ...]:
        transactions = tuple(self._types.parse(raw) for raw in block.bodies)
        if tuple(transaction.id for transaction in transactions) != block.proposal.transaction_ids:
            raise InvalidProof("its bodies are not the proposal's")
        return transactions

    def _check_block(self, block: SyncBlock, genesis_hash: bytes, epoch: Epoch) -> None:
        header = block.proposal.header
        self._engine.verify(block.order_certificate, genesis_hash, epoch, header.sequence, proposal_digest(header))
        if block.block_certificate is not None:
            if block.block_certificate.height != header.sequence:
                raise InvalidProof("its block certificate is for another height")
            _check_certificate(block.block_certificate, genesis_hash, epoch)


def _check_certificate(certificate: BlockCertificate, genesis_hash: bytes, epoch: Epoch) -> None:
    if certificate.epoch != epoch.number:
        raise InvalidProof(f"block certificate of epoch {certificate.epoch}")
    verify_block_certificate(certificate, genesis_hash, epoch.keys, Quorum(len(epoch.members)).quorum)
