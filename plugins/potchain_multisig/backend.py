"""The back ends `multisig` and `safe`: one contract on one EVM chain, through several endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import aiohttp
import msgspec

from potchain import (
    EVENTS_PER_CALL_MAX,
    BackendContext,
    ChainView,
    Contract,
    Layer2Event,
    Prepared,
    ReadyAction,
    RelayState,
    SettlementError,
    keccak256,
)
from potchain_multisig.agreement import Look, Panel
from potchain_multisig.endpoints import Endpoint
from potchain_multisig.fees import FeeLimits
from potchain_multisig.multisig import MultisigScheme
from potchain_multisig.options import EvmOptions
from potchain_multisig.relaying import Relayer, RelayLimits
from potchain_multisig.safe import SafeScheme
from potchain_multisig.scheme import Scheme
from potchain_multisig.watching import EventSearch

T = TypeVar("T")

SCHEMES: dict[str, Callable[[Contract, Panel], Scheme]] = {"multisig": MultisigScheme, "safe": SafeScheme}


class _Running:
    """All that exists from `open` to `close`."""

    def __init__(self, options: EvmOptions, context: BackendContext) -> None:
        contract = context.contract
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        endpoints = [
            Endpoint(number, url, self.session, options.call_timeout_ms, options.answer_bytes_max)
            for number, url in enumerate(options.endpoints, 1)
        ]
        self.panel = Panel(
            endpoints, options.agreement, contract.chain_id, options.lag_blocks_max, options.head_stalled_after_ms
        )
        self.scheme = SCHEMES[contract.scheme](contract, self.panel)
        self.search = EventSearch(
            self.panel, contract.address, contract.from_block, options.logs_blocks_max, options.logs_questions_max
        )
        fees = FeeLimits(options.fee_cap_wei, options.tip_min_wei, options.tip_cap_wei)
        limits = RelayLimits(fees, options.gas_max)
        self.relayer = Relayer(self.panel, self.scheme, contract.chain_id, context.relay_key, limits)
        self.seen: tuple[bytes, int, ChainView] | None = None
        """Hash of the head, nonce asked for, and the whole view: nothing changes while both are the same."""


class EvmBackend:
    """Implements `potchain.SettlementBackend`."""

    relay_ahead = 1

    def __init__(self, options: EvmOptions, context: BackendContext) -> None:
        self._options = options
        self._context = context
        self._running: _Running | None = None

    async def open(self) -> None:
        """Check chain id, code and digests. Raises SettlementError: `wrong_chain`, `wrong_contract`, or of asking."""
        if self._running is None:
            self._running = _Running(self._options, self._context)
        await self._in_time(self._verify(self._running), "checking the contract")

    async def close(self) -> None:
        """End every connection."""
        running, self._running = self._running, None
        if running is not None:
            await running.session.close()

    async def observe(self, next_event_nonce: int, since_block: int = 0) -> ChainView:
        """See `potchain.SettlementBackend.observe`.

        `since_block`: no such event is known to lie below it; saves a long search after a restart.
        """
        work = self._observe(self._opened(), next_event_nonce, since_block)
        return await self._in_time(work, "looking at the chain")

    async def stands(self, event: Layer2Event) -> bool:
        """See `potchain.SettlementBackend.stands`."""
        return await self._in_time(self._stands(self._opened(), event), "looking at a block")

    async def prepare(self, ready: ReadyAction, now_ms: int, replaces: Prepared | None = None) -> Prepared:
        """See `potchain.SettlementBackend.prepare`."""
        return await self._in_time(self._opened().relayer.prepare(ready, now_ms, replaces), "preparing a transaction")

    async def submit(self, prepared: Prepared) -> None:
        """See `potchain.SettlementBackend.submit`."""
        await self._in_time(self._opened().relayer.submit(prepared), "submitting a transaction")

    async def follow(self, prepared: Prepared) -> RelayState:
        """See `potchain.SettlementBackend.follow`."""
        return await self._in_time(self._opened().relayer.follow(prepared), "following a transaction")

    async def _verify(self, running: _Running) -> None:
        address = self._context.contract.address
        place = f"0x{address.hex()}"
        look = await running.panel.look()
        code = await running.panel.agreed(look, lambda endpoint: endpoint.code(address, look.head.hash), "the code")
        if not code:
            raise SettlementError("wrong_contract", f"there is no code at {place} by block {look.head.number}")
        if self._options.code_hash:
            found = "0x" + keccak256(code).hex()
            if found != self._options.code_hash.lower():
                raise SettlementError("wrong_contract", f"the code at {place} has the hash {found}, not code_hash")
        elif not running.scheme.artifact.is_code(code):
            raise SettlementError("wrong_contract", f"the code at {place} is not this release's contract")
        await running.scheme.verify(look)

    async def _observe(self, running: _Running, next_event_nonce: int, since_block: int) -> ChainView:
        look = await running.panel.look()
        head = look.head
        if running.seen is not None and running.seen[:2] == (head.hash, next_event_nonce):
            return msgspec.structs.replace(running.seen[2], notes=running.panel.notes)
        state = await running.scheme.state(look)
        confirmed = head.number - self._context.confirmations
        known = 0
        events: tuple[Layer2Event, ...] = ()
        if confirmed >= self._context.contract.from_block:
            known = state.next_event_nonce
            if confirmed < head.number:
                known = await running.scheme.events_at(look, await self._hash_of(running, look, confirmed))
            count = min(known - next_event_nonce, EVENTS_PER_CALL_MAX)
            if count > 0:
                running.search.begin_at(next_event_nonce, since_block)
                events = await running.search.find(look, next_event_nonce, count, confirmed)
            elif known == next_event_nonce:
                running.search.nothing_after(known, confirmed)
        view = ChainView(
            chain_id=self._context.contract.chain_id,
            head_number=head.number,
            head_hash=head.hash,
            head_time_s=head.time_s,
            confirmed_number=confirmed,
            contract=state,
            events=events,
            notes=running.panel.notes,
        )
        complete = len(events) >= min(known - next_event_nonce, EVENTS_PER_CALL_MAX)
        running.seen = (head.hash, next_event_nonce, view) if complete else None
        return view

    async def _stands(self, running: _Running, event: Layer2Event) -> bool:
        look = await running.panel.look()
        if event.block_number > look.head.number:
            return False
        return await self._hash_of(running, look, event.block_number) == event.block_hash

    async def _hash_of(self, running: _Running, look: Look, number: int) -> bytes:
        block = await running.panel.agreed(look, lambda endpoint: endpoint.block(number), f"block {number}")
        return block.hash

    async def _in_time(self, work: Coroutine[Any, Any, T], what: str) -> T:
        try:
            async with asyncio.timeout(self._options.deadline_ms / 1000):
                return await work
        except TimeoutError:
            raise SettlementError("unreachable", f"{what} took more than {self._options.deadline_ms} ms") from None

    def _opened(self) -> _Running:
        if self._running is None:
            raise SettlementError("not_configured", "the back end is not open")
        return self._running
