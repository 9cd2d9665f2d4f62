"""`NodePort` over a running driver: reads on the event loop, submissions through signatures, pool and disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from potchain.api.ports import (
    AccountView,
    ConsensusStatus,
    Limits,
    LinkStatus,
    NodeStatus,
    PendingState,
    PoolEntry,
    PoolStatus,
    SettlementStatus,
    SubmitOutcome,
    Wait,
)
from potchain.api.proving import epoch_links
from potchain.application.accounts import account_key, load_account
from potchain.application.execution import Executor
from potchain.application.interface import StateReader
from potchain.consensus.interface import EngineFactory
from potchain.driver import Driver
from potchain.driver.bookkeeper import BookkeeperPort
from potchain.driver.clock import Clock
from potchain.driver.verifier import SignatureChecks
from potchain.errors import InvalidTransaction
from potchain.gateway.links import LinkControl
from potchain.gateway.recent import RecentBlocks
from potchain.gateway.waiting import Picture, picture_of, waiting_for, waits_of
from potchain.genesis import Epoch
from potchain.ledger.reader import LedgerReader
from potchain.links import LinkSpec
from potchain.primitives import NS_PER_MS, Digest, uint
from potchain.proofs import StateProof
from potchain.settlement.report import SettlerReport
from potchain.transactions import MEMO_BYTES_MAX, TRANSACTION_BYTES_MAX, Transaction
from potchain.transport import PeerStatus, Transport

SUBMIT_BATCH_MAX = 1_000
"""Transactions in one HTTP call."""
PROOF_WAIT_S = 10.0
"""How long a state proof waits for the newest block's certificate."""


class Gateway:
    """One node, as the API sees it."""

    def __init__(
        self,
        *,
        driver: Driver,
        transport: Transport,
        verifier: SignatureChecks,
        bookkeeper: BookkeeperPort,
        reader: LedgerReader,
        recent: RecentBlocks,
        executor: Executor,
        engine: EngineFactory,
        clock: Clock,
        name: str,
        version: str,
        links: LinkControl | None = None,
        settlement: Callable[[], SettlementStatus] | None = None,
    ) -> None:
        """`links`: without it nothing is emulated, and nobody may change that. `settlement`: what the settler says of
        itself; without it there is none."""
        self.genesis = driver.replica.genesis
        self.types = executor.types
        self.event_types = executor.event_types
        self._driver = driver
        self._replica = driver.replica
        self._transport = transport
        self._verifier = verifier
        self._bookkeeper = bookkeeper
        self._reader = reader
        self._recent = recent
        self._engine = engine
        self._clock = clock
        self._name = name
        self._version = version
        self._links = links or LinkControl(transport, clock, tuple)
        self._settlement = settlement or _no_settlement
        self._started_at_ms = clock.now().unix_ms

    # --- status -----------------------------------------------------------------------------------------------------

    def epoch(self) -> Epoch:
        """The current epoch."""
        return self._replica.epoch

    def peers(self) -> tuple[PeerStatus, ...]:
        """All configured peers."""
        return self._transport.peers()

    def limits(self) -> Limits:
        """What a client should know before it sends."""
        pool = self._replica.pool.limits
        parameters = self._replica.epoch.parameters
        return Limits(
            base_fee=parameters.base_fee,
            transaction_bytes_max=TRANSACTION_BYTES_MAX,
            memo_bytes_max=MEMO_BYTES_MAX,
            nonce_gap_max=pool.nonce_gap_max,
            sender_in_flight_max=pool.per_sender_max,
            submit_batch_max=SUBMIT_BATCH_MAX,
            batch_max=parameters.batch_max,
        )

    def links(self) -> LinkStatus:
        """The network conditions that this node emulates."""
        return self._links.status()

    async def set_links(self, spec: LinkSpec) -> LinkStatus:
        """Emulate other ones from now on, if the operator has allowed it."""
        return await self._links.set(spec)

    def settlement(self) -> SettlementStatus:
        """What this node does about settlement."""
        return self._settlement()

    def status(self) -> NodeStatus:
        """Where this node is."""
        replica = self._replica
        pool = replica.pool.status()
        peers = self._transport.peers()
        best = replica.catch_up.credible_height
        self._recent.history_reached(self._bookkeeper.history_height)
        picture, waits = self._waits()
        return NodeStatus(
            node_id=replica.me,
            name=self._name,
            version=self._version,
            engine=self._engine.name,
            engine_version=self._engine.version,
            height=replica.chain.applied.height,
            block_hash=replica.chain.applied_hash,
            state_root=replica.chain.applied.state_root,
            block_time_ms=replica.chain.applied.block_time_ms,
            certified_height=self._recent.certified,
            stable_height=picture.engine.low_water_mark,
            history_height=self._bookkeeper.history_height,
            best_peer_height=best,
            pool_count=pool.count,
            pool_bytes=pool.bytes,
            peers_connected=sum(peer.connected for peer in peers),
            peers_configured=len(peers),
            syncing=replica.catch_up.is_behind(replica.applied),
            stalled=self._stalled(waits),
            started_at_ms=self._started_at_ms,
            evidence={
                replica.epochs.name_of(accused): count
                for accused, count in sorted(replica.accusations.counts.items())
            },
        )

    def consensus(self) -> ConsensusStatus:
        """The engine's own status and the host's around it."""
        replica = self._replica
        now_ns = self._clock.now().monotonic_ns
        picture, waits = self._waits()
        status = picture.engine
        return ConsensusStatus(
            engine=status,
            epoch=replica.epoch,
            standing=replica.standing,
            stalled=self._stalled(waits),
            waiting_for=waiting_for(waits),
            waits=waits,
            timers=tuple((name, max(0, (due_ns - now_ns) // NS_PER_MS)) for name, due_ns in replica.timers.due()),
            block_votes_missing=replica.certifier.missing(),
            buffers={
                **status.buffers,
                **replica.sizes(),
                "journal_queue": self._driver.journal_depth,
                "ledger_queue": self._bookkeeper.depth,
                "history_lag": self._bookkeeper.lag,
                "signatures_under_way": self._verifier.under_way,
                "recent_blocks": self._recent.count,
            },
        )

    def _waits(self) -> tuple[Picture, tuple[Wait, ...]]:
        picture = picture_of(
            self._replica,
            self._clock.now().monotonic_ns,
            batches_queued=self._driver.journal_depth,
            blocks_queued=self._bookkeeper.depth,
        )
        return picture, waits_of(picture)

    def _stalled(self, waits: tuple[Wait, ...]) -> str | None:
        replica = self._replica
        if not replica.has_work:
            return None
        waited_ns = self._clock.now().monotonic_ns - replica.progress_ns
        if waited_ns < replica.epoch.parameters.view_timeout_ms * NS_PER_MS:
            return None
        return f"no progress for {waited_ns // NS_PER_MS} ms; waiting for {waiting_for(waits)}"

    # --- transactions and accounts ----------------------------------------------------------------------------------

    async def submit(self, transactions: Sequence[Transaction]) -> tuple[SubmitOutcome, ...]:
        """Verify, admit, make durable, gossip: one outcome each, in order."""
        outcomes: list[SubmitOutcome | None] = [None] * len(transactions)
        fresh = []
        for at, transaction in enumerate(transactions):
            if self._replica.pool.contains(transaction.id):
                outcomes[at] = SubmitOutcome(transaction.id, "known", "", "")
            else:
                fresh.append(at)
        good = []
        try:
            refusals = await self._verifier.check([transactions[at] for at in fresh])
        except InvalidTransaction as busy:
            refusals = [busy] * len(fresh)
        for at, refusal in zip(fresh, refusals, strict=True):
            if refusal is None:
                good.append(at)
            else:
                outcomes[at] = SubmitOutcome(transactions[at].id, "refused", refusal.code, refusal.detail)
        if len(fresh) < len(transactions) and not good:
            await self._driver.submit(())  # "known" is an answer only once it is durable
        if good:
            results = await self._driver.submit([transactions[at] for at in good])
            for at, (transaction_id, status, code, detail) in zip(good, results, strict=True):
                if code == "stale_nonce" and await self._find(transaction_id) is not None:
                    status, code, detail = "known", "", ""
                outcomes[at] = SubmitOutcome(transaction_id, status, code, detail)
        return tuple(outcome for outcome in outcomes if outcome is not None)

    def account(self, address: bytes) -> AccountView:
        """An account as of the highest executed block."""
        account = load_account(self._replica.chain.state, address)
        return AccountView(
            height=self._replica.tip.height,
            nonce=account.nonce,
            next_nonce=self._replica.pool.next_nonce(address, account.nonce),
            balance=uint(account.balance),
        )

    def state(self) -> StateReader:
        """The state after the highest executed block."""
        return self._replica.chain.state

    async def state_proof(self, address: bytes) -> StateProof | None:
        """Proof of the account's record, or of its absence, under the newest block once that is certified."""
        key = account_key(address)
        header = self._replica.tip
        value, branch = self._replica.chain.state.get(key), self._replica.chain.state.prove(key)
        if header.height == self.genesis.height:
            return None
        if not await self.wait_height(header.height, certified=True, timeout_s=PROOF_WAIT_S):
            return None
        certificate = await asyncio.to_thread(self._reader.certificate, header.height)
        if certificate is None:
            return None
        links = await asyncio.to_thread(lambda: tuple(epoch_links(self._reader, header.epoch)))
        return StateProof(
            header=header,
            certificate=certificate,
            key=key,
            value=value,
            siblings=branch.siblings,
            other_leaf=branch.other_leaf,
            epochs=links,
        )

    def pool(self) -> PoolStatus:
        """Sizes and bounds of the pool."""
        sizes = self._replica.pool.status()
        return PoolStatus(
            count=sizes.count,
            count_max=sizes.count_max,
            bytes=sizes.bytes,
            bytes_max=sizes.bytes_max,
            ready=sizes.ready,
            senders=sizes.senders,
        )

    def pool_page(self, after: bytes | None, limit: int) -> tuple[PoolEntry, ...]:
        """Pooled transactions in id order, from behind `after`."""
        page = self._replica.pool.page(
            None if after is None else Digest(after), limit, now_ns=self._clock.now().monotonic_ns
        )
        return tuple(PoolEntry(transaction=entry.transaction, ready=entry.ready, age_ms=entry.age_ms) for entry in page)

    def pending(self, transaction_id: bytes) -> PendingState | None:
        """Pool or recently dropped; None when it is neither."""
        found = self._replica.pool.pending_state(Digest(transaction_id))
        return None if found is None else PendingState(found.state, found.code, found.reason)

    def pooled_transaction(self, transaction_id: bytes) -> Transaction | None:
        """The body of a pooled transaction."""
        return self._replica.pool.get(Digest(transaction_id))

    def recently_included(self, transaction_id: bytes) -> tuple[int, int] | None:
        """(height, index) in blocks that history has not reached."""
        return self._recent.place_of(transaction_id)

    def recent_history(self, address: bytes) -> tuple[tuple[int, int], ...]:
        """(height, index) of an address in blocks that history has not reached, newest first."""
        return self._recent.history_of(address)

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def wait_height(self, height: int, *, certified: bool, timeout_s: float) -> bool:
        """Until that height is durable (and final)."""
        return await self._recent.wait_height(height, certified=certified, timeout_s=timeout_s)

    async def wait_transaction(self, transaction_id: bytes, *, certified: bool, timeout_s: float) -> bool:
        """Until it is executed (and its block is final); False when the time ran out or it is dropped."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        height = await self._recent.wait_place(
            transaction_id, find=self._find, is_dropped=self._is_dropped, timeout_s=timeout_s
        )
        if height is None or not certified:
            return height is not None
        return await self.wait_height(height, certified=True, timeout_s=max(0.001, deadline - loop.time()))

    def _is_dropped(self, transaction_id: bytes) -> bool:
        pending = self.pending(transaction_id)
        return pending is not None and pending.state == "dropped"

    async def _find(self, transaction_id: bytes) -> tuple[int, int] | None:
        recent = self._recent.place_of(transaction_id)
        return recent or await asyncio.to_thread(self._reader.locate, transaction_id)


def _no_settlement() -> SettlementStatus:
    return SettlementStatus(
        backend="ledger", operator=None, relay_account=None, contract=None, report=SettlerReport(state="off")
    )
