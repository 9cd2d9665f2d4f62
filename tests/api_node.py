"""A node in memory for tests of the API, with real keys, transactions, execution, blocks and certificates.

It is what the API calls a NodePort. Blocks are made when a test says so, so that nothing waits for a clock;
`history.rows_height` says how far the SQL rows have come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from api_history import PaperHistory
from core_network import Chain, certify, make_genesis

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
from potchain.application.accounts import account_key, load_account
from potchain.application.interface import StateReader
from potchain.blocks import ExecutedBlock, block_hash
from potchain.consensus.interface import EngineStatus, SlotStatus
from potchain.errors import InvalidTransaction
from potchain.genesis import Epoch
from potchain.links import OFF, LinkProfile, LinkSpec, link_profile
from potchain.primitives import uint
from potchain.proofs import StateProof
from potchain.settlement.report import SettlerReport
from potchain.transactions import Transaction
from potchain.transport import PeerStatus

GAP_MAX = 3
SENDER_MAX = 4
POOL_MAX = 6


class PaperNode:
    """A node that makes a block when it is told to."""

    def __init__(self, chain: Chain | None = None, **balances: int) -> None:
        """`chain`: one that exists already, with applications of its own."""
        if chain is None:
            chain = Chain(make_genesis(sorted((balances or {"alice": 10**24, "bob": 10**24}).items())))
        self.genesis = chain.genesis
        self.chain = chain
        self.history = PaperHistory(self.chain)
        self.types = self.chain.executor.types
        self.event_types = self.chain.executor.event_types
        self.pooled: dict[bytes, Transaction] = {}
        self.dropped: dict[bytes, PendingState] = {}
        self.certified_height = 0
        self.is_syncing = False
        self.view_change: SlotStatus | None = None
        self.refuse_with: tuple[str, str] | None = None
        self.fails_with: Exception | None = None
        self.profile: LinkProfile = OFF
        self.takes_links = False
        self.settling = SettlementStatus(
            backend="ledger", operator=None, relay_account=None, contract=None, report=SettlerReport(state="off")
        )
        self.submitted: list[int] = []
        """Size of each call of `submit`."""
        self.waiting = 0
        self.someone_waits = asyncio.Event()
        self._changed = asyncio.Event()

    # --- what a test does to it ---------------------------------------------------------------------------------------

    def make_block(self, *transactions: Transaction, certified: bool = True, rows: bool = False) -> ExecutedBlock:
        """Execute these, or what the pool holds in order of nonce."""
        chosen = transactions or tuple(sorted(self.pooled.values(), key=lambda each: (each.sender, each.nonce)))
        block = self.chain.run(*chosen)
        for transaction in chosen:
            self.pooled.pop(transaction.id, None)
        if certified:
            self.certify()
        if rows:
            self.history.rows_height = block.height
        self._notify()
        return block

    def certify(self) -> None:
        """Certificates for everything."""
        for block in self.chain.blocks[self.certified_height :]:
            self.history.certificates[block.height] = certify(block.header, self.epoch())
        self.certified_height = len(self.chain.blocks)
        self._notify()

    def drop(self, transaction_id: bytes, code: str, reason: str) -> None:
        self.pooled.pop(transaction_id, None)
        self.dropped[transaction_id] = PendingState("dropped", code, reason)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # --- NodePort -----------------------------------------------------------------------------------------------------

    def status(self) -> NodeStatus:
        if self.fails_with is not None:
            raise self.fails_with
        tip = self.chain.tip
        return NodeStatus(
            node_id=self.epoch().ids[0],
            name="v0",
            version="0.1.0",
            engine="paper",
            engine_version="1",
            height=tip.height,
            block_hash=block_hash(tip),
            state_root=tip.state_root,
            block_time_ms=tip.block_time_ms,
            certified_height=self.certified_height,
            stable_height=0,
            history_height=self.history.rows_height,
            best_peer_height=tip.height + (7 if self.is_syncing else 0),
            pool_count=len(self.pooled),
            pool_bytes=sum(len(each.raw) for each in self.pooled.values()),
            peers_connected=3,
            peers_configured=3,
            syncing=self.is_syncing,
            stalled="waits for sequence 9 (preparing): prepare from v1, v2" if self.is_syncing else None,
            started_at_ms=1_700_000_000_000,
            evidence={"v3": len(self.history.pieces)} if self.history.pieces else {},
        )

    def links(self) -> LinkStatus:
        source = "none" if self.profile.off else "api"
        return LinkStatus(
            profile=self.profile, source=source, since_ms=1_700_000_000_000, phase=0, control=self.takes_links
        )

    async def set_links(self, spec: LinkSpec) -> LinkStatus:
        assert self.takes_links
        self.profile = link_profile(spec, [member.name for member in self.epoch().members])
        return self.links()

    def settlement(self) -> SettlementStatus:
        return self.settling

    def state(self) -> StateReader:
        return self.chain.state

    def consensus(self) -> ConsensusStatus:
        epoch = self.epoch()
        slot = SlotStatus(
            sequence=9,
            phase="pre-prepared",
            digest="0x" + "ab" * 32,
            held={"prepare": ["v0"]},
            missing={"prepare": ["v1", "v2"]},
        )
        engine = EngineStatus(
            view=0,
            primary=epoch.primary(0),
            mode="normal",
            low_water_mark=0,
            high_water_mark=128,
            last_decided=self.chain.tip.height,
            in_flight=(slot,),
            view_change=self.view_change,
            view_timeout_ns=2_000_000_000,
            buffers={"early votes": 2},
        )
        return ConsensusStatus(
            engine=engine,
            epoch=epoch,
            standing="voting",
            stalled="waits for sequence 9 (preparing): prepare from v1, v2" if self.is_syncing else None,
            waiting_for="sequence 9 (preparing): prepare from v1, v2",
            waits=(
                Wait(
                    kind="sequence",
                    text="sequence 9 (preparing): prepare from v1, v2",
                    missing=("v1", "v2"),
                    sequence=9,
                ),
                Wait(kind="proposal", text="a proposal from primary v0 (connected) of 1 transaction", since_ms=400),
            ),
            timers=(("tick", 500), ("engine:agreement", 1_500), ("engine:own", 1_600)),
            block_votes_missing={8: ["v3"]},
            buffers={"inbox": 0},
        )

    def epoch(self) -> Epoch:
        return self.genesis.first_epoch

    def peers(self) -> tuple[PeerStatus, ...]:
        return tuple(
            PeerStatus(
                node_id=member.node_id,
                name=member.name,
                address="127.0.0.1:9600",
                connected=True,
                frames_in=1,
                frames_out=2,
                bytes_in=3,
                bytes_out=4,
                frames_dropped=0,
                queued_bytes=0,
            )
            for member in self.epoch().members[1:]
        )

    def limits(self) -> Limits:
        return Limits(
            base_fee=10,
            transaction_bytes_max=64 * 1024,
            memo_bytes_max=64,
            nonce_gap_max=GAP_MAX,
            sender_in_flight_max=SENDER_MAX,
            submit_batch_max=1_000,
            batch_max=1_000,
        )

    async def submit(self, transactions: Sequence[Transaction]) -> tuple[SubmitOutcome, ...]:
        self.submitted.append(len(transactions))
        outcomes = []
        for transaction in transactions:
            try:
                status = self._admit(transaction)
                outcomes.append(SubmitOutcome(transaction.id, status, "", ""))
            except InvalidTransaction as fault:
                outcomes.append(SubmitOutcome(transaction.id, "refused", fault.code, fault.detail))
        return tuple(outcomes)

    def _admit(self, transaction: Transaction) -> str:
        if self.refuse_with is not None:
            raise InvalidTransaction(*self.refuse_with)
        self.types.check_signature(transaction)
        if transaction.id in self.pooled or self.history.find(transaction.id, 1, len(self.chain.blocks)):
            return "known"
        self.chain.executor.check(transaction, self.chain.state, self.epoch(), self.chain.tip.block_time_ms)
        nonce = load_account(self.chain.state, transaction.sender).nonce
        mine = {each.nonce: each for each in self.pooled.values() if each.sender == transaction.sender}
        if transaction.nonce < nonce:
            raise InvalidTransaction("stale_nonce", f"nonce {transaction.nonce} is used, the next is {nonce}")
        if transaction.nonce > self._next_nonce(transaction.sender) + GAP_MAX:
            raise InvalidTransaction("nonce_gap_too_large", f"nonce {transaction.nonce} is too far ahead")
        if transaction.nonce in mine:
            if transaction.fee <= mine[transaction.nonce].fee:
                raise InvalidTransaction("fee_too_low_to_replace", "the pool holds this nonce at as high a fee")
            self.drop(mine[transaction.nonce].id, "replaced", "by a higher fee")
        elif len(mine) >= SENDER_MAX:
            raise InvalidTransaction("sender_limit", f"{len(mine)} of this sender are pooled")
        elif len(self.pooled) >= POOL_MAX:
            raise InvalidTransaction("pool_full", f"{len(self.pooled)} transactions are pooled")
        self.pooled[transaction.id] = transaction
        return "accepted"

    def _next_nonce(self, address: bytes) -> int:
        nonce = load_account(self.chain.state, address).nonce
        while any(each.sender == address and each.nonce == nonce for each in self.pooled.values()):
            nonce += 1
        return nonce

    def account(self, address: bytes) -> AccountView:
        record = load_account(self.chain.state, address)
        return AccountView(
            height=self.chain.tip.height,
            nonce=record.nonce,
            next_nonce=self._next_nonce(address),
            balance=uint(record.balance),
        )

    async def state_proof(self, address: bytes) -> StateProof | None:
        height = self.chain.tip.height
        if height not in self.history.certificates:
            return None
        key = account_key(address)
        branch = self.chain.state.prove(key)
        return StateProof(
            header=self.chain.tip,
            certificate=self.history.certificates[height],
            key=key,
            value=self.chain.state.get(key),
            siblings=branch.siblings,
            other_leaf=branch.other_leaf,
            epochs=(),
        )

    def pool(self) -> PoolStatus:
        return PoolStatus(
            count=len(self.pooled),
            count_max=POOL_MAX,
            bytes=sum(len(each.raw) for each in self.pooled.values()),
            bytes_max=1 << 20,
            ready=len(self.pooled),
            senders=len({each.sender for each in self.pooled.values()}),
        )

    def pool_page(self, after: bytes | None, limit: int) -> tuple[PoolEntry, ...]:
        ids = [each for each in sorted(self.pooled) if after is None or each > after]
        return tuple(PoolEntry(transaction=self.pooled[each], ready=True, age_ms=5) for each in ids[:limit])

    def pending(self, transaction_id: bytes) -> PendingState | None:
        if transaction_id in self.pooled:
            return PendingState("pool", "", "")
        return self.dropped.get(transaction_id)

    def pooled_transaction(self, transaction_id: bytes) -> Transaction | None:
        return self.pooled.get(transaction_id)

    def recently_included(self, transaction_id: bytes) -> tuple[int, int] | None:
        return self.history.find(transaction_id, self.history.rows_height + 1, len(self.chain.blocks))

    def recent_history(self, address: bytes) -> tuple[tuple[int, int], ...]:
        return tuple(self.history.places_of(address, self.history.rows_height + 1, len(self.chain.blocks)))

    async def wait_transaction(self, transaction_id: bytes, *, certified: bool, timeout_s: float) -> bool:
        def done() -> bool:
            place = self.history.find(transaction_id, 1, len(self.chain.blocks))
            return place is not None and (not certified or place[0] in self.history.certificates)

        return await self._wait(done, lambda: transaction_id in self.dropped, timeout_s)

    async def wait_height(self, height: int, *, certified: bool, timeout_s: float) -> bool:
        def done() -> bool:
            return (self.certified_height if certified else self.chain.tip.height) >= height

        return await self._wait(done, lambda: False, timeout_s)

    async def _wait(self, done: Callable[[], bool], lost: Callable[[], bool], timeout_s: float) -> bool:
        self.waiting += 1
        self.someone_waits.set()
        try:
            async with asyncio.timeout(timeout_s):
                while not done():
                    if lost():
                        return False
                    await self._changed.wait()
                return True
        except TimeoutError:
            return done()
        finally:
            self.waiting -= 1
