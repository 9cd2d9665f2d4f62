# ruff: noqa: ANN401 - what a replacement only hands on has the type of the original
"""Mutants of the host: what is signed and kept, when a vote is refused, execution, catch-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sim_liars import RESULTS
from sim_mutant_registry import mutant, patched

from potchain import blocks
from potchain.application.execution import ExecutionResult, Executor
from potchain.blocks import (
    BlockCertificate,
    BlockHeader,
    ExecutedBlock,
    Proposal,
    SyncBlock,
    VoteSubject,
    receipts_root,
    skipped_receipt,
    vote_bytes,
)
from potchain.consensus.interface import CheckProposal, ConsensusMessage, ProposalChecked
from potchain.consensus.learning import LearnerTarget
from potchain.consensus.signer import Signer
from potchain.driver.incoming import Incoming, NestedSignatures
from potchain.errors import LedgerError
from potchain.genesis import Epoch
from potchain.ledger.votes import VoteLog
from potchain.ledger.writer import LedgerWriter
from potchain.pool import TransactionPool
from potchain.pool.interface import Admission
from potchain.primitives import Digest, NodeId
from potchain.replica import Replica
from potchain.replica.actions import Now, Transmit
from potchain.replica.chain import Chain
from potchain.replica.own_messages import OwnMessages
from potchain.replica.proposing import PendingCheck, ProposalDesk
from potchain.transactions import Transaction
from potchain_pbft.effects import StepEffects
from potchain_pbft.messages import PREPARE
from potchain_pbft.normal_case import NormalCase

# --- what is signed, and what is kept ---------------------------------------------------------------------------------


@mutant(
    "vote not persisted",
    "the vote log writes neither votes nor guard nor records",
    {"a primary loses power with a proposal that nobody got": "one signature per slot"},
)
def _not_persisted() -> Iterator[None]:
    original = VoteLog.append

    def forgetful(self: VoteLog, **batch: Any) -> int | None:
        return original(self, **{**batch, "records": (), "messages": (), "guard": ()})

    with patched(VoteLog, "append", forgetful):
        yield


@mutant(
    "signature without view",
    "what is signed does not name the view",
    {"lone decision in view 1, then view changes under another name": "agreement"},
)
def _signature_without_view() -> Iterator[None]:
    subject = blocks.VoteSubject

    def without_view(tag: str, genesis: bytes, epoch: int, kind: str, view: int, *rest: Any) -> VoteSubject:
        return subject(tag, genesis, epoch, kind, 0, *rest)

    with patched(blocks, "VoteSubject", without_view):
        yield


@mutant(
    "guard skipped on re-send",
    "what is sent again is signed anew, past the guard, for the newest proposal that was heard",
    {"a primary that says both, and votes that get lost": "one signature per slot"},
)
def _signs_anew() -> Iterator[None]:
    newest: dict[tuple[NodeId | None, int, int], bytes] = {}
    original = NormalCase.on_pre_prepare

    def listen(self: NormalCase, message: ConsensusMessage, out: StepEffects) -> None:
        newest[self._me, message.view, message.sequence] = message.digest
        original(self, message, out)

    def resend(self: OwnMessages, certified: int) -> None:
        for kept in self._kept.values():
            message, signer = kept.message, self._signer
            assert isinstance(signer, Signer)
            digest = newest.get((signer.node_id, message.view, message.sequence), message.digest)
            if message.kind == PREPARE:
                signed = vote_bytes(
                    signer._genesis_hash, message.epoch, PREPARE, message.view, message.sequence, digest,
                    signer.node_id,
                )  # fmt: skip
                signature = signer._key.sign_vote(signed)
                message = msgspec.structs.replace(message, digest=digest, signature=signature)
            self._outbox.then(Transmit(None, message))

    with patched(NormalCase, "on_pre_prepare", listen), patched(OwnMessages, "resend_to_all", resend):
        yield


@mutant(
    "learner resumes too early",
    "a node that forgot its votes signs as soon as it has its answers",
    {"a primary forgets its votes with a proposal in flight": "one signature per slot"},
)
def _early_learner() -> Iterator[None]:
    with patched(LearnerTarget, "reached", lambda self, stable, epoch, view: True):
        yield


@mutant(
    "unsigned prepare accepted",
    "the signature of a prepare is not checked",
    {"two proposals, one with forged prepares": "liveness"},
)
def _unsigned_prepare() -> Iterator[None]:
    original = Incoming.message

    def lax(
        self: Incoming, message: ConsensusMessage, epoch: Epoch, replica: Replica
    ) -> tuple[NestedSignatures, str | None]:
        return ((), None) if message.kind == PREPARE else original(self, message, epoch, replica)

    with patched(Incoming, "message", lax):
        yield


# --- when a vote may be refused ---------------------------------------------------------------------------------------


@mutant(
    "votes depend on account state",
    "a proposal is refused when a nonce in it is not the account's next",
    {"one sender, one transaction a block": "liveness"},
)
def _votes_on_state() -> Iterator[None]:
    chains: dict[int, Chain] = {}
    begin, complete = Chain.__init__, ProposalDesk._complete

    def remember(self: Chain, **rooms: Any) -> None:
        begin(self, **rooms)
        chains[id(rooms["desk"])] = self

    def strict(self: ProposalDesk, check: PendingCheck) -> None:
        chain, proposal = chains[id(self)], check.ask.proposal
        ids = [Digest(each) for each in proposal.transaction_ids]
        bodies = [check.found.get(each) or self._pool.get(each) for each in ids]
        if any(body is not None and body.nonce != chain.account(body.sender)[0] for body in bodies):
            self._answer(ProposalChecked(proposal, check.ask.view, "a nonce in it is not the next"))
        else:
            complete(self, check)

    with patched(Chain, "__init__", remember), patched(ProposalDesk, "_complete", strict):
        yield


@mutant(
    "clock re-checked on a re-proposal",
    "what a new view chose must have a fresh timestamp, too",
    {"a proposal that is chosen again when it is old": "liveness"},
)
def _clock_again() -> Iterator[None]:
    original = ProposalDesk._refusal

    def with_clock(self: ProposalDesk, ask: CheckProposal, now: Now) -> str | None:
        return original(self, msgspec.structs.replace(ask, fresh=True), now)

    with patched(ProposalDesk, "_refusal", with_clock):
        yield


# --- execution and catch-up -------------------------------------------------------------------------------------------


@mutant(
    "unique id crash",
    "the ledger holds an id once: a second inclusion is refused by the database",
    {"every transaction twice": "halt"},
)
def _unique_id() -> Iterator[None]:
    original = LedgerWriter.apply
    seen: dict[int, set[bytes]] = {}

    def apply(self: LedgerWriter, done: Sequence[ExecutedBlock], certificates: Sequence[BlockCertificate] = ()) -> None:
        ids = seen.setdefault(id(self), set())
        for block in done:
            for transaction_id in block.proposal.transaction_ids:
                if transaction_id in ids:
                    raise LedgerError("UNIQUE constraint failed: transactions.id")
                ids.add(transaction_id)
        original(self, done, certificates)

    with patched(LedgerWriter, "apply", apply):
        yield


@mutant(
    "body unpinned by replacement",
    "a transaction that is replaced in the pool is gone, although a proposal in flight needs its body",
    {"a transaction is replaced while it is in flight": "exception"},
)
def _unpinned() -> Iterator[None]:
    original = TransactionPool.admit

    def admit(self: TransactionPool, transaction: Transaction, **facts: Any) -> Admission:
        admission = original(self, transaction, **facts)
        if admission.replaced is not None:
            self._pins.by_id.pop(admission.replaced, None)
        return admission

    with patched(TransactionPool, "admit", admit):
        yield


@mutant(
    "receipts imported in catch-up",
    "results that come with a block of catch-up are believed, not computed",
    {"catching up with a peer that sends results": "equal roots"},
)
def _imported() -> Iterator[None]:
    imported: set[tuple[int, int]] = set()
    parse, execute = Incoming._bodies_of, Executor.execute

    def bodies_of(self: Incoming, block: SyncBlock) -> tuple[Transaction, ...]:
        if block.bodies and block.bodies[-1] == RESULTS:
            imported.add((id(self._types), block.proposal.header.sequence))
            block = msgspec.structs.replace(block, bodies=block.bodies[:-1])
        return parse(self, block)

    def believe(
        self: Executor, parent: BlockHeader, epoch: Epoch, proposal: Proposal, *rest: Any
    ) -> ExecutionResult:
        result = execute(self, parent, epoch, proposal, *rest)
        if (id(self.types), proposal.header.sequence) not in imported:
            return result
        ids = enumerate(proposal.transaction_ids)
        receipts = tuple(skipped_receipt(each, index, "stale_nonce") for index, each in ids)
        header = msgspec.structs.replace(result.header, receipts_root=receipts_root(receipts))
        return msgspec.structs.replace(result, header=header, receipts=receipts, changes=())

    with patched(Incoming, "_bodies_of", bodies_of), patched(Executor, "execute", believe):
        yield
