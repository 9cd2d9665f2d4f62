"""A node's way to Layer 2: an endpoint that takes its time, lags, forgets answers or is gone; and a back end over it.

The endpoint belongs to the world: its troubles and its dice outlive the node's crashes. After a reorganisation some
endpoints show the lost branch for a moment longer than others. The back end keeps nothing, as the interface asks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from potchain.crypto import SigningKey
from potchain.errors import SettlementError
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.settlement import ChainView, ContractState, Layer2Event, Prepared, ReadyAction, RelayState
from potchain.settlement.interface import EVENTS_PER_CALL_MAX
from potchain.sim.layer2.chain import Branch, Chain, Mail, block_time_s, events_of, read_back, receipt, signed
from potchain.sim.layer2.contract import Reverted, call_of, executed
from potchain.sim.plan import Layer2
from potchain.sim.scheduler import Scheduler

SLOW_TO_SWITCH_NS = (0, 0, 300 * NS_PER_MS, 900 * NS_PER_MS)
"""How long an endpoint may show a lost branch; drawn for each."""
FAULT_OF_REFUSAL = {"EnforcedPause": "paused", "InsufficientDeposits": "underfunded"}
"""Codes of SettlementError for errors of the contract; the others are `would_revert`."""


class Endpoint:
    """What one node has of Layer 2."""

    def __init__(
        self, chain: Chain, scheduler: Scheduler, options: Layer2, start_ms: int, rng: random.Random
    ) -> None:
        """`start_ms`: Unix time at virtual time 0; `rng` decides how long answers take, and nothing else."""
        self.chain = chain
        self.options = options
        self.start_ms = start_ms
        self.gone = 0
        """How many faults keep it from answering now."""
        self.forgetful = 0
        """How many faults lose every second of its answers now."""
        self.blocks_behind = 0
        self._scheduler = scheduler
        self._rng = rng
        self._switches_after_ns = rng.choice(SLOW_TO_SWITCH_NS)
        self._answers = 0

    def branch(self) -> Branch:
        """The chain as it shows it."""
        chain = self.chain
        is_lost_shown = chain.lost_branch and self._scheduler.now_ns < chain.lost_ns + self._switches_after_ns
        blocks: Branch = chain.lost_branch if is_lost_shown else chain.blocks
        return blocks[: max(1, len(blocks) - self.blocks_behind)]

    async def asked(self) -> None:
        """A question and its answer are on the way. Raises SettlementError(`unreachable`)."""
        least_ns = self.options.answer_ns // 4
        delay_ns = least_ns + self._rng.randrange(max(1, self.options.answer_ns - least_ns))
        await asyncio.sleep(delay_ns / NS_PER_S)
        if self.gone:
            raise SettlementError("unreachable", "no endpoint answers")

    def answered(self) -> None:
        """Its answer to what was done. Raises SettlementError(`unreachable`) when it gets lost."""
        self._answers += 1
        if self.gone or (self.forgetful and self._answers % 2):
            raise SettlementError("unreachable", "the answer got lost")


Boundary = Callable[[str], bool]
"""A node's boundary, at which it may crash: then False."""
Relayed = Callable[[Prepared], None]
"""Told of each transaction right before it leaves the node."""


class SimBackend:
    """`potchain.settlement.SettlementBackend` of one life of a node."""

    def __init__(self, endpoint: Endpoint, relay_key: SigningKey, boundary: Boundary, relayed: Relayed) -> None:
        self.relay_ahead = endpoint.options.relay_ahead
        self._endpoint = endpoint
        self._chain = endpoint.chain
        self._key = relay_key
        self._boundary = boundary
        self._relayed = relayed

    async def open(self) -> None:
        """Asks whether somebody is there."""
        await self._endpoint.asked()

    async def close(self) -> None:
        """There is nothing to end."""

    async def observe(self, next_event_nonce: int) -> ChainView:
        """What the endpoint shows, and events that are deep enough below its head."""
        await self._endpoint.asked()
        branch = self._endpoint.branch()
        head = branch[-1]
        confirmed = head.number - self._confirmations()
        book = head.book
        return ChainView(
            chain_id=self._chain.contract.chain_id,
            head_number=head.number,
            head_hash=head.hash,
            head_time_s=block_time_s(self._endpoint.start_ms, head),
            confirmed_number=confirmed,
            contract=ContractState(
                next_nonce=book.next_nonce,
                next_event_nonce=book.next_event,
                epoch=book.epoch,
                threshold=book.threshold,
                owners=book.owners,
                deposited=book.deposited,
                allocated=book.allocated,
                paused=book.paused,
            ),
            events=events_of(branch[: max(0, confirmed + 1)], next_event_nonce, EVENTS_PER_CALL_MAX),
        )

    async def stands(self, event: Layer2Event) -> bool:
        """Whether the endpoint's branch has its block."""
        await self._endpoint.asked()
        branch = self._endpoint.branch()
        return event.block_number < len(branch) and branch[event.block_number].hash == event.block_hash

    async def prepare(self, ready: ReadyAction, now_ms: int, replaces: Prepared | None = None) -> Prepared:
        """A transaction that the contract would take after the endpoint's head."""
        await self._endpoint.asked()
        branch, account, options = self._endpoint.branch(), self._key.address, self._endpoint.options
        call = call_of(ready.action, [signature for _, signature in ready.signatures])
        book = branch[-1].book
        if options.relay_ahead == 1 or ready.action.nonce <= book.next_nonce:
            try:
                executed(self._chain.contract, book, call, account)
            except Reverted as refusal:
                code = FAULT_OF_REFUSAL.get(str(refusal).partition("(")[0], "would_revert")
                raise SettlementError(code, str(refusal)) from None
        used = branch[-1].nonces.get(account, 0)
        nonce, fee_wei = used, self._chain.fee_wei
        while options.relay_ahead > 1 and (account, nonce) in self._chain.pool:
            nonce += 1
        if replaces is not None:
            nonce, fee_wei = replaces.account_nonce, max(fee_wei, replaces.fee_per_gas_wei * 9 // 8 + 1)
            if nonce < used:
                raise SettlementError("would_revert", f"account nonce {nonce} is used up")
        if fee_wei > options.fee_cap_wei:
            raise SettlementError("gas_too_dear", f"{fee_wei} wei are asked, the cap is {options.fee_cap_wei}")
        if account in self._chain.penniless:
            raise SettlementError("empty_wallet", f"0x{account.hex()} cannot pay {fee_wei} wei for gas")
        transaction = signed(self._key, Mail(nonce, fee_wei, call))
        return Prepared(
            action_nonce=ready.action.nonce,
            attempt=0 if replaces is None else replaces.attempt + 1,
            account=account,
            account_nonce=nonce,
            transaction_hash=transaction.hash,
            raw=transaction.raw,
            fee_per_gas_wei=fee_wei,
            prepared_ms=now_ms,
        )

    async def submit(self, prepared: Prepared) -> None:
        """Into the one pool, across two boundaries."""
        if not self._boundary("before a relay"):
            await asyncio.get_running_loop().create_future()  # dead: the loop's end cancels it
        self._relayed(prepared)
        await self._endpoint.asked()
        self._chain.send(read_back(prepared.raw))
        if not self._boundary("after a relay"):
            await asyncio.get_running_loop().create_future()
        self._endpoint.answered()

    async def follow(self, prepared: Prepared) -> RelayState:
        """From the endpoint's branch and the pool."""
        await self._endpoint.asked()
        branch = self._endpoint.branch()
        found = receipt(branch, prepared.transaction_hash)
        if found is not None:
            number, refusal = found
            above = branch[-1].number - number
            return RelayState(phase="reverted" if refusal else "mined", confirmations=above, detail=refusal)
        waiting = self._chain.pool.get((prepared.account, prepared.account_nonce))
        if waiting is not None and waiting.hash == prepared.transaction_hash:
            return RelayState(phase="pending")
        used = branch[-1].nonces.get(prepared.account, 0)
        return RelayState(phase="replaced" if used > prepared.account_nonce else "unknown")

    def _confirmations(self) -> int:
        return self._endpoint.options.confirmations
