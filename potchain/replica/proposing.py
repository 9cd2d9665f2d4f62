"""Proposals on their way in: building our own by the batching rule, and holding others' until every body is here.

A proposal is accepted by what it says, by its bodies, by epoch parameters and, while fresh, by the clock; never by
account state, because other sequences are in flight (design section 5). Before the engine hears "acceptable", the
proposal is pinned and part of the same durable batch as the vote that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from potchain.blocks import Proposal, build_proposal, proposal_digest
from potchain.consensus.interface import BuildProposal, CheckProposal, ProposalBuilt, ProposalChecked
from potchain.pool import TransactionPool
from potchain.primitives import NS_PER_MS, Digest, NodeId
from potchain.replica.actions import Now, Transmit
from potchain.replica.epochs import KnownEpochs
from potchain.replica.neglect import NeglectJudge
from potchain.replica.outbox import Outbox
from potchain.replica.wire import FETCH_IDS_MAX, FetchBodies
from potchain.transactions import Transaction

FORWARD_MAX = 200
"""Transactions forwarded at once to a primary that seems not to have them, or to a peer that has just connected."""
FORWARD_BYTES_MAX = 256 * 1024
"""Bound on their canonical bytes: on a slow link what is forwarded again and again would be all that passes."""
FETCH_RETRY_NS = 500 * NS_PER_MS
"""Then ask another holder after this long, or after the grace for bodies if that is longer."""


class PendingCheck(msgspec.Struct):
    """A proposal whose bodies are not all here yet."""

    ask: CheckProposal
    digest: Digest
    missing: dict[Digest, None]
    found: dict[Digest, Transaction]
    next_fetch_ns: int
    attempts: int = 0


class ProposalDesk:
    """Builds, checks and pins proposals for the engine."""

    def __init__(
        self,
        *,
        me: NodeId,
        genesis_hash: bytes,
        epochs: KnownEpochs,
        pool: TransactionPool,
        outbox: Outbox,
        neglect: NeglectJudge,
        body_grace_ms: int,
        answer: Callable[[ProposalBuilt | ProposalChecked], None],
    ) -> None:
        self._me = me
        self._genesis_hash = genesis_hash
        self._epochs = epochs
        self._pool = pool
        self._grace_ns = body_grace_ms * NS_PER_MS
        self._outbox = outbox
        self._neglect = neglect
        self._answer = answer
        self._build: BuildProposal | None = None
        self._checks: dict[Digest, PendingCheck] = {}
        self._wanted: dict[Digest, list[Digest]] = {}
        self._pinned: dict[Digest, Proposal] = {}
        self._building: set[int] = set()
        self._proposal_seen_ns = 0

    # --- building ---------------------------------------------------------------------------------------------------

    def build_asked(self, ask: BuildProposal) -> None:
        """The engine has room for a proposal; the newest ask replaces an older one."""
        self._build = ask

    def forget_asks(self) -> None:
        """The engine that asked is gone; a check goes on, for its bodies may be asked for again."""
        self._build = None
        self._building.clear()

    def build_if_due(self, now: Now) -> int | None:
        """Build when the batching rule allows; otherwise the monotonic time at which to look again, or None."""
        ask = self._build
        if ask is None:
            return None
        count, oldest_ns = self._pool.proposable()
        parameters = self._epochs.current.parameters
        if count == 0 or oldest_ns is None:
            if not ask.may_be_empty:
                return None
        elif self._building and count < parameters.batch_max:
            due_ns = oldest_ns + parameters.batch_delay_ms * NS_PER_MS
            if now.monotonic_ns < due_ns:
                return due_ns
        chosen = self._pool.select(
            count_max=parameters.batch_max,
            bytes_max=parameters.batch_bytes_max,
            now_ns=now.monotonic_ns,
            block_time_ms=now.unix_ms,
        )
        if not chosen and not ask.may_be_empty:
            return None
        proposal = build_proposal(
            self._genesis_hash,
            self._epochs.current.number,
            ask.sequence,
            now.unix_ms,
            self._me,
            [transaction.id for transaction in chosen],
        )
        if not self._pin(proposal, proposal_digest(proposal.header), chosen):
            # The room for pinned bodies is full until blocks are applied, which wakes the funnel.
            return None
        self._build = None
        self._building.add(ask.sequence)
        self._answer(ProposalBuilt(proposal, ask.view))
        return None

    def waiting(self, now: Now) -> tuple[Transaction, ...]:
        """Up to `FORWARD_MAX` proposable transactions, the best first, for a peer that may not have them."""
        return self._pool.select(
            count_max=FORWARD_MAX,
            bytes_max=FORWARD_BYTES_MAX,
            now_ns=now.monotonic_ns,
            block_time_ms=now.unix_ms,
        )

    def held(self) -> tuple[Transaction, ...]:
        """Up to as many transactions of proposals that are pinned here and not executed, by sequence."""
        found: dict[Digest, Transaction] = {}
        size = 0
        for proposal in self.all_pinned(0):
            for body in self.bodies(proposal):
                size += len(body.raw)
                if len(found) == FORWARD_MAX or size > FORWARD_BYTES_MAX:
                    return tuple(found.values())
                found[body.id] = body
        return tuple(found.values())

    # --- checking ---------------------------------------------------------------------------------------------------

    def check_asked(self, ask: CheckProposal, now: Now) -> None:
        """Answer at once when all is here or the proposal is no good; else begin to look for its bodies."""
        self._proposal_seen_ns = now.monotonic_ns
        digest = proposal_digest(ask.proposal.header)
        refusal = self._refusal(ask, now)
        if refusal is not None:
            self._answer(ProposalChecked(ask.proposal, ask.view, refusal))
            return
        missing = {Digest(tid): None for tid in ask.proposal.transaction_ids if self._pool.get(Digest(tid)) is None}
        check = PendingCheck(ask, digest, missing, {}, now.monotonic_ns + self._grace_ns)
        if not missing:
            self._complete(check)
            return
        if len(self._checks) >= self._epochs.current.parameters.log_window:
            self._answer(ProposalChecked(ask.proposal, ask.view, "too many proposals wait for bodies"))
            return
        self._checks[digest] = check
        for transaction_id in missing:
            self._wanted.setdefault(transaction_id, []).append(digest)

    def is_wanted(self, transaction_id: Digest) -> bool:
        """Whether a proposal waits for this body, so that it must be kept even if the pool refuses it."""
        return transaction_id in self._wanted

    def body_arrived(self, transaction: Transaction) -> None:
        """A verified body, whether or not the pool took it; completes the proposals that waited for it."""
        for digest in self._wanted.pop(transaction.id, ()):
            check = self._checks.get(digest)
            if check is None or transaction.id not in check.missing:
                continue
            del check.missing[transaction.id]
            check.found[transaction.id] = transaction
            if not check.missing:
                del self._checks[digest]
                self._complete(check)

    def fetch_due(self, now: Now) -> int | None:
        """Ask for missing bodies whose time has come; the monotonic time at which to look again, or None."""
        next_ns: int | None = None
        for check in self._checks.values():
            if check.next_fetch_ns <= now.monotonic_ns:
                ids = tuple(check.missing)[:FETCH_IDS_MAX]
                self._outbox.now(Transmit(self._source(check), FetchBodies(check.ask.proposal.header.sequence, ids)))
                check.attempts += 1
                check.next_fetch_ns = now.monotonic_ns + max(FETCH_RETRY_NS, self._grace_ns)
            if next_ns is None or check.next_fetch_ns < next_ns:
                next_ns = check.next_fetch_ns
        return next_ns

    # --- pinned -----------------------------------------------------------------------------------------------------

    def restore(self, proposal: Proposal, transactions: Sequence[Transaction]) -> None:
        """Pin again after a restart what the vote log holds."""
        self._hold(proposal, proposal_digest(proposal.header), transactions)

    def all_pinned(self, above: int) -> tuple[Proposal, ...]:
        """Pinned proposals of sequences above this one, by sequence, then digest."""
        chosen = [(each.header.sequence, digest) for digest, each in self._pinned.items()]
        return tuple(self._pinned[digest] for sequence, digest in sorted(chosen) if sequence > above)

    def pinned(self, digest: Digest) -> Proposal | None:
        """A pinned proposal, to serve to peers."""
        return self._pinned.get(digest)

    def bodies(self, proposal: Proposal) -> tuple[Transaction, ...]:
        """Bodies of a pinned proposal, in order."""
        bodies = tuple(self._pool.get(Digest(tid)) for tid in proposal.transaction_ids)
        assert all(body is not None for body in bodies), "a pinned proposal has all its bodies"
        return bodies  # type: ignore[return-value]

    def keep_in_flight(self, digests: Sequence[Digest], is_decided: Callable[[int], bool]) -> None:
        """Of undecided proposals only these will come to anything; transactions of the others are free again.

        Their bodies stay pinned: another view may choose them yet.
        """
        self.forget_asks()
        kept = set(digests)
        for digest, proposal in self._pinned.items():
            if digest not in kept and not is_decided(proposal.header.sequence):
                self._pool.unmark_proposed(digest)

    def decided(self, sequence: int) -> None:
        """A sequence left flight."""
        self._building.discard(sequence)
        if self._build is not None and self._build.sequence <= sequence:
            self._build = None

    def applied(self, height: int) -> None:
        """Blocks up to here are in the ledger, which serves their bodies from now on."""
        for digest in [d for d, proposal in self._pinned.items() if proposal.header.sequence <= height]:
            del self._pinned[digest]
            self._pool.unpin(digest)
            self._pool.unmark_proposed(digest)
        for digest in [d for d, check in self._checks.items() if check.ask.proposal.header.sequence <= height]:
            check = self._checks.pop(digest)
            for transaction_id in check.missing:
                waiting = [other for other in self._wanted.get(transaction_id, ()) if other != digest]
                if waiting:
                    self._wanted[transaction_id] = waiting
                else:
                    self._wanted.pop(transaction_id, None)

    def sizes(self) -> dict[str, int]:
        """Sizes of the buffers."""
        return {
            "proposals_pinned": len(self._pinned),
            "proposals_waiting_for_bodies": len(self._checks),
            "bodies_wanted": len(self._wanted),
        }

    def _refusal(self, ask: CheckProposal, now: Now) -> str | None:
        header = ask.proposal.header
        ids = ask.proposal.transaction_ids
        parameters = self._epochs.current.parameters
        if len(ids) > parameters.batch_max:
            return f"{len(ids)} transactions, at most {parameters.batch_max} are allowed"
        if len(set(ids)) != len(ids):
            return "a transaction is named twice"
        if ask.fresh and abs(header.timestamp_ms - now.unix_ms) > parameters.clock_bound_ms:
            return (
                f"timestamp {header.timestamp_ms} is {header.timestamp_ms - now.unix_ms} ms from our clock, "
                f"at most {parameters.clock_bound_ms} are allowed"
            )
        return None

    def _complete(self, check: PendingCheck) -> None:
        proposal = check.ask.proposal
        bodies = []
        for raw_id in proposal.transaction_ids:
            transaction = check.found.get(Digest(raw_id)) or self._pool.get(Digest(raw_id))
            if transaction is None:
                # It left the pool while others were fetched: look for it again.
                self._retry(check, Digest(raw_id))
                return
            bodies.append(transaction)
        size = sum(len(transaction.raw) for transaction in bodies)
        if size > self._epochs.current.parameters.batch_bytes_max:
            too_large = f"{size} bytes of bodies, at most {self._epochs.current.parameters.batch_bytes_max} are allowed"
            self._answer(ProposalChecked(proposal, check.ask.view, too_large))
            return
        self._neglect.proposal_seen(proposal, tuple(bodies), self._proposal_seen_ns)
        # What the pool took is in the body log already.
        strangers = tuple(found for found in check.found.values() if self._pool.get(found.id) is None)
        self._outbox.persist(bodies=strangers)
        refusal: str | None = None
        if not self._pin(proposal, check.digest, bodies):
            refusal = "no room for its bodies until earlier blocks are applied"
        self._answer(ProposalChecked(proposal, check.ask.view, refusal))

    def _retry(self, check: PendingCheck, transaction_id: Digest) -> None:
        check.missing[transaction_id] = None
        self._checks[check.digest] = check
        self._wanted.setdefault(transaction_id, []).append(check.digest)

    def _pin(self, proposal: Proposal, digest: Digest, bodies: Sequence[Transaction]) -> bool:
        if not self._hold(proposal, digest, bodies):
            return False
        self._outbox.persist(proposals=(proposal,))
        return True

    def _hold(self, proposal: Proposal, digest: Digest, bodies: Sequence[Transaction]) -> bool:
        if not self._pool.pin(digest, bodies):
            return False
        self._pinned[digest] = proposal
        self._pool.mark_proposed(digest, [transaction.id for transaction in bodies])
        return True

    def _source(self, check: PendingCheck) -> NodeId:
        others = [node for node in self._epochs.current.ids if node != self._me]
        sources = [node for node in check.ask.sources if node != self._me]
        order = sources + [node for node in others if node not in sources]
        return order[check.attempts % len(order)]
