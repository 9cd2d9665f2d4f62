"""The chain's tip: decisions become blocks here, in order, and only here does a sequence become a height.

Execution runs ahead of the disk by at most `UNAPPLIED_MAX` blocks; others hear of a block only when it is durable.
"""

from __future__ import annotations

from collections.abc import Sequence

from potchain.application.accounts import load_account
from potchain.application.epochs import following_epoch
from potchain.application.execution import Executor
from potchain.application.state import AuthenticatedState
from potchain.blocks import BlockHeader, ExecutedBlock, Proposal, proposal_digest
from potchain.codec import decode
from potchain.consensus.interface import Decision
from potchain.errors import InvalidTransaction
from potchain.genesis import Epoch
from potchain.pool import TransactionPool
from potchain.primitives import Digest, uint
from potchain.replica.actions import Apply
from potchain.replica.epochs import KnownEpochs
from potchain.replica.outbox import Outbox
from potchain.replica.proposing import ProposalDesk
from potchain.transactions import Transaction

DUTY_STANDING = 8
"""A duty, which need pay nothing, competes as if it paid so many times the base fee: settlement goes on under
load, and what free duties of a bad operator can hold up is bounded by ageing (three doublings)."""
UNAPPLIED_MAX = 8
"""Blocks executed in memory that may wait for the disk; further decisions wait."""


class Chain:
    """Executes decisions in order."""

    def __init__(
        self,
        *,
        epochs: KnownEpochs,
        executor: Executor,
        state: AuthenticatedState,
        pool: TransactionPool,
        desk: ProposalDesk,
        outbox: Outbox,
        tip: BlockHeader,
        tip_hash: Digest,
        decided_proposals: Sequence[Proposal] = (),
    ) -> None:
        self.state = state
        self.tip = tip
        """Header of the highest block executed in memory."""
        self.applied = tip
        """Header of the highest block that is durable in the ledger."""
        self.applied_hash = tip_hash
        self._epochs = epochs
        self._executor = executor
        self._pool = pool
        self._desk = desk
        self._outbox = outbox
        self._next_epoch: Epoch | None = None
        self._next_bytes: bytes | None = None
        self._decided: dict[int, Decision] = {}
        self._synced: dict[Digest, tuple[Transaction, ...]] = {}
        self._unapplied: dict[int, ExecutedBlock] = {}
        self._forget_at: dict[int, tuple[Digest, ...]] = {}
        self._proposals = {proposal.header.sequence: proposal for proposal in decided_proposals}
        """Of decided sequences above the stable checkpoint: at most one log window."""

    @property
    def gap(self) -> int:
        """The first sequence that is neither executed nor decided."""
        sequence = self.tip.height + 1
        while sequence in self._decided:
            sequence += 1
        return sequence

    @property
    def has_gap(self) -> bool:
        """Whether something is decided that cannot be executed for want of a sequence before it."""
        return bool(self._decided) and self.tip.height + 1 not in self._decided

    @property
    def next_epoch(self) -> Epoch | None:
        """What follows the current epoch, as of the tip; the same object as long as it is the same."""
        data = following_epoch(self.state, self._epochs.current_bytes)
        if data != self._next_bytes:
            self._next_bytes = data
            self._next_epoch = None if data is None else decode(Epoch, data)
        return self._next_epoch

    def is_decided(self, sequence: int) -> bool:
        """Whether this sequence is executed or waits for its turn."""
        return sequence <= self.tip.height or sequence in self._decided

    def decide(self, decision: Decision, now_ns: int) -> bool:
        """Take a decision in; whether any block could be executed."""
        if decision.sequence > self.tip.height:
            self._decided[decision.sequence] = decision
            self._proposals[decision.sequence] = decision.proposal
        return self.execute_ready(now_ns)

    def decided_proposals(self, above: int) -> tuple[Proposal, ...]:
        """What was decided above the stable checkpoint, by sequence."""
        return tuple(self._proposals[sequence] for sequence in sorted(self._proposals) if sequence > above)

    def decided_proposal(self, sequence: int, digest: Digest) -> Proposal | None:
        """That proposal, if it was decided above the stable checkpoint."""
        proposal = self._proposals.get(sequence)
        return proposal if proposal is not None and proposal_digest(proposal.header) == digest else None

    def stable(self, height: int) -> None:
        """No new view can choose anything at or below a stable checkpoint any more."""
        self._proposals = {sequence: each for sequence, each in self._proposals.items() if sequence > height}

    def keep_bodies(self, digest: Digest, transactions: tuple[Transaction, ...]) -> None:
        """Bodies that came with a block of catch-up, for its execution."""
        self._synced[digest] = transactions

    def execute_ready(self, now_ns: int) -> bool:
        """Execute what is next in order, as far as the disk keeps up; whether any block was."""
        before = self.tip.height
        while len(self._unapplied) < UNAPPLIED_MAX:
            decision = self._decided.pop(self.tip.height + 1, None)
            if decision is None:
                break
            bodies = self._synced.pop(decision.digest, None) or self._desk.bodies(decision.proposal)
            block = self._executor.execute_block(
                self.tip, self._epochs.current, decision.proposal, bodies, self.state, decision.certificate
            )
            self.tip = block.header
            self._unapplied[block.height] = block
            self._pool.executed(bodies, block.receipts, self.account, now_ns)
            # The body log may forget them once the block is durable, not before.
            self._forget_at[block.height] = self._pool.drain_forgotten()
            self._outbox.then(Apply(block))
        return self.tip.height > before

    def block_applied(self, height: int) -> Digest:
        """The next block is durable in the ledger; its hash."""
        block = self._unapplied.pop(height)
        self.applied, self.applied_hash = block.header, block.hash
        # One that has come back in the meantime was promised anew.
        forgotten = tuple(each for each in self._forget_at.pop(height) if self._pool.get(each) is None)
        self._outbox.forget(forgotten)
        self._desk.applied(height)
        return block.hash

    def forget_unneeded(self, logged: Sequence[Transaction]) -> None:
        """At start: bodies of the log that were executed right before the stop, or that the pool takes no more."""
        self._outbox.forget([transaction.id for transaction in logged if self._pool.get(transaction.id) is None])

    def account(self, address: bytes) -> tuple[int, int]:
        """Nonce and balance after the tip."""
        account = load_account(self.state, address)
        return account.nonce, uint(account.balance)

    def admit(
        self, transaction: Transaction, now_ns: int, *, vouched: bool = False, promised: bool = False
    ) -> tuple[str, str, str]:
        """Offer a transaction with a good signature to the pool, as of the tip: status, code, detail.

        `vouched`: a peer brings it, which has taken it as of some other state. Whether it would succeed as of ours is
        not asked: what is too late by now, such as the last of many signatures, would otherwise stay with that peer for
        good, hold up all that its sender does later, and make us look as if we neglected it. It fails in its place.
        `promised`: this node has answered for it before a restart, so a gap in front of it is no reason to forget it.
        """
        try:
            if not (vouched or promised):
                self._executor.check(transaction, self.state, self._epochs.current, self.tip.block_time_ms)
            nonce, balance = self.account(transaction.sender)
            epoch = self._epochs.current
            least_fee = self._executor.least_fee(transaction, self.state, epoch)
            admission = self._pool.admit(
                transaction,
                account_nonce=nonce,
                balance=balance,
                base_fee=least_fee,
                block_time_ms=self.tip.block_time_ms,
                now_ns=now_ns,
                standing_fee=0 if least_fee else DUTY_STANDING * max(1, epoch.parameters.base_fee),
                promised=promised,
            )
        except InvalidTransaction as refusal:
            return "refused", refusal.code, refusal.detail
        return ("known" if admission.status == "known" else "accepted"), "", ""

    def sizes(self) -> dict[str, int]:
        """Sizes of the buffers."""
        return {
            "decisions_waiting": len(self._decided),
            "blocks_unapplied": len(self._unapplied),
            "synced_bodies": len(self._synced),
            "decided_proposals": len(self._proposals),
        }
