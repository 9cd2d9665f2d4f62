"""What cases for settlement back ends work with: owners who sign, and a back end whose every answer is inspected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, get_args

import msgspec

from potchain.codec import decode, encode
from potchain.crypto import SigningKey, keccak256
from potchain.errors import SettlementError
from potchain.primitives import uint256
from potchain.settlement import (
    Action,
    BackendContext,
    ChainView,
    Contract,
    Entry,
    Layer2Event,
    Prepared,
    ReadyAction,
    RelayState,
    SettlementBackend,
    SettlementBackendFactory,
)
from potchain.settlement.digests import action_digest
from potchain.settlement.events import EVENT_TYPES, PAYLOAD_BYTES_MAX
from potchain.settlement.interface import EVENTS_PER_CALL_MAX, FAULTS, RelayPhase

if TYPE_CHECKING:
    from potchain.testing.settlement import SettlementScenario

T = TypeVar("T")
NOW_MS = 1_700_000_000_000
"""Wall clock of the cases."""
DEADLINE_MS = 20_000
HASTY_MS = 1_000
"""Deadline where the case waits for it."""
GRACE_S = 5.0
"""By so much a call may miss its deadline on a busy machine."""
TRIES = 20
"""Of a call whose failure a case allows for a while."""
RAW_BYTES_MAX = 1 << 20
"""Longest prepared transaction: it is written to a database."""


def key_of(name: str) -> SigningKey:
    """Somebody's key."""
    return SigningKey(keccak256(b"keyconformance " + name.encode()))


OWNERS = tuple(sorted((key_of(f"owner {number}") for number in range(4)), key=lambda key: key.address))
THRESHOLD = 3
ALICE, BOB = key_of("alice").address, key_of("bob").address


def batch(nonce: int, account: bytes, amount: int) -> Action:
    """An action that pays one account."""
    return Action(nonce=nonce, epoch=0, kind="batch", height=1, entries=(Entry(account, uint256(amount)),))


class Inspected:
    """A back end, called with a deadline, and all it answers and raises held against the interface."""

    def __init__(self, backend: SettlementBackend, context: BackendContext, deadline_ms: int) -> None:
        self._backend = backend
        self._context = context
        self._deadline_ms = deadline_ms
        self.relay_ahead = backend.relay_ahead
        assert isinstance(self.relay_ahead, int), f"relay_ahead is {self.relay_ahead!r}"
        assert self.relay_ahead >= 1, f"relay_ahead is {self.relay_ahead}"

    async def open(self) -> None:
        """See `SettlementBackend.open`."""
        await self._in_time("open", self._backend.open())

    async def close(self) -> None:
        """See `SettlementBackend.close`."""
        try:
            await self._in_time("close", self._backend.close())
        except SettlementError as fault:
            raise AssertionError(f"close raised {fault}; it never raises") from fault

    async def observe(self, next_event_nonce: int) -> ChainView:
        """See `SettlementBackend.observe`."""
        view = await self._in_time("observe", self._backend.observe(next_event_nonce))
        _check_view(view, self._context, next_event_nonce)
        return view

    async def stands(self, event: Layer2Event) -> bool:
        """See `SettlementBackend.stands`."""
        answer = await self._in_time("stands", self._backend.stands(event))
        assert isinstance(answer, bool), f"stands answers {answer!r}"
        return answer

    async def prepare(self, ready: ReadyAction, replaces: Prepared | None = None, now_ms: int = NOW_MS) -> Prepared:
        """See `SettlementBackend.prepare`. The answer has been through a database."""
        prepared = await self._in_time("prepare", self._backend.prepare(ready, now_ms, replaces))
        _check_prepared(prepared, self._context, ready, now_ms, replaces)
        return msgspec.msgpack.decode(msgspec.msgpack.encode(prepared), type=Prepared)

    async def submit(self, prepared: Prepared) -> None:
        """See `SettlementBackend.submit`."""
        await self._in_time("submit", self._backend.submit(prepared))

    async def follow(self, prepared: Prepared) -> RelayState:
        """See `SettlementBackend.follow`."""
        state = await self._in_time("follow", self._backend.follow(prepared))
        assert state.phase in get_args(RelayPhase), f"follow answers the phase {state.phase!r}"
        assert state.confirmations >= 0, f"follow answers {state.confirmations} confirmations"
        return state

    async def _in_time(self, call: str, work: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(self._deadline_ms / 1_000 + GRACE_S):
                with _NamedFaults(call):
                    return await work
        except TimeoutError:
            late = f"{GRACE_S:g} s after its deadline of {self._deadline_ms} ms"
            raise AssertionError(f"{call} has not ended {late}") from None


class _NamedFaults:
    """Whatever a call raises is a SettlementError with a code of FAULTS."""

    def __init__(self, call: str) -> None:
        self._call = call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(fault, SettlementError):
            assert fault.code in FAULTS, f"{self._call} raised the code {fault.code!r}, which is none of FAULTS"
        elif isinstance(fault, Exception):
            raise AssertionError(f"{self._call} raised {fault!r}, not a SettlementError") from fault


class Bench:
    """One scenario, and what a case does with it."""

    def __init__(self, factory: SettlementBackendFactory, scenario: SettlementScenario) -> None:
        self.factory = factory
        self.scenario = scenario
        self.contract = scenario.contract

    def backend(
        self,
        *,
        confirmations: int = 0,
        relayer: int | None = 0,
        contract: Contract | None = None,
        deadline_ms: int = DEADLINE_MS,
    ) -> Inspected:
        """A new back end, not open, with one of the relay keys or none."""
        context = BackendContext(
            contract=contract or self.contract,
            relay_key=None if relayer is None else self.scenario.relay_keys[relayer],
            confirmations=confirmations,
        )
        return Inspected(self.factory.create(self.scenario.options(deadline_ms), context), context, deadline_ms)

    @asynccontextmanager
    async def opened(self, *, confirmations: int = 0, relayer: int | None = 0) -> AsyncIterator[Inspected]:
        """A new back end, open until the end of the block."""
        backend = self.backend(confirmations=confirmations, relayer=relayer)
        await backend.open()
        try:
            yield backend
        finally:
            await backend.close()

    def ready(self, action: Action, signers: Iterable[SigningKey] = OWNERS[:THRESHOLD]) -> ReadyAction:
        """The action with those signatures, sorted by owner."""
        digest = action_digest(self.contract, action)
        signatures = tuple(sorted((key.address, key.sign_digest(digest)) for key in signers))
        return ReadyAction(action=action, digest=digest, signatures=signatures)

    async def relayed(self, backend: Inspected, ready: ReadyAction) -> Prepared:
        """Prepared, submitted and mined."""
        prepared = await backend.prepare(ready)
        await backend.submit(prepared)
        self.scenario.mine(1)
        state = await backend.follow(prepared)
        assert state.phase == "mined", f"{ready.action.kind} {ready.action.nonce} was submitted and is {state}"
        return prepared

    def require_credited(self, account: bytes, amount: int) -> None:
        """That the contract paid so much, no less and no more."""
        found = self.scenario.credited(account)
        assert found == amount, f"the contract credited {found} base units where {amount} were decided"


async def refused(work: Coroutine[Any, Any, object], what: str, *codes: str) -> SettlementError:
    """The fault that a call must raise, with one of these codes; any of FAULTS when there are none."""
    try:
        answer = await work
    except SettlementError as fault:
        if codes and fault.code not in codes:
            raise AssertionError(f"{what}: the fault is {fault}, not {' or '.join(codes)}") from fault
        return fault
    raise AssertionError(f"{what}: it answers {answer!r} and should raise {' or '.join(codes) or 'SettlementError'}")


def _check_view(view: ChainView, context: BackendContext, first: int) -> None:
    told = [event.event_nonce for event in view.events]
    assert told == list(range(first, first + len(told))), f"observe({first}) gives events {told}: a gap"
    assert len(told) <= EVENTS_PER_CALL_MAX, f"observe gives {len(told)} events, at most {EVENTS_PER_CALL_MAX} may be"
    assert view.chain_id == context.contract.chain_id, f"observe speaks of chain {view.chain_id}"
    assert len(view.head_hash) == 32, f"head_hash has {len(view.head_hash)} bytes"
    deep = view.head_number - view.confirmed_number
    assert deep >= context.confirmations, f"{deep} blocks above the confirmed one, asked are {context.confirmations}"
    owners = view.contract.owners
    assert owners == tuple(sorted(owners)), "the owners are not sorted"
    assert not told or told[-1] < view.contract.next_event_nonce, "an event that the contract has not had"
    place = (-1, -1)
    for event in view.events:
        _check_event(event)
        assert event.block_number <= view.confirmed_number, (
            f"event {event.event_nonce} is of block {event.block_number}, confirmed is {view.confirmed_number}"
        )
        here = (event.block_number, event.log_index)
        assert here > place, f"event {event.event_nonce} is at {here}, the one before it at {place}"
        place = here


def _check_event(event: Layer2Event) -> None:
    kind = EVENT_TYPES.get(event.kind)
    assert kind is not None, f"events have no kind {event.kind!r}"
    assert len(event.payload) <= PAYLOAD_BYTES_MAX, f"a payload of {len(event.payload)} bytes"
    again = encode(decode(kind, event.payload))
    assert again == event.payload, f"the payload of event {event.event_nonce} is not canonical"
    for name in ("block_hash", "transaction_hash"):
        assert len(getattr(event, name)) == 32, f"{name} of event {event.event_nonce} is no 32 bytes"


def _check_prepared(
    prepared: Prepared, context: BackendContext, ready: ReadyAction, now_ms: int, replaces: Prepared | None
) -> None:
    assert context.relay_key is not None, "prepare needs a relay key, and there is none"
    told = (prepared.action_nonce, prepared.account, prepared.prepared_ms)
    expected = (ready.action.nonce, context.relay_key.address, now_ms)
    assert told == expected, f"prepared for (action, account, time) {told} instead of {expected}"
    attempt = 0 if replaces is None else replaces.attempt + 1
    assert prepared.attempt == attempt, f"attempt {prepared.attempt} where {attempt} comes"
    assert len(prepared.transaction_hash) == 32, f"a hash of {len(prepared.transaction_hash)} bytes"
    assert 0 < len(prepared.raw) <= RAW_BYTES_MAX, f"a transaction of {len(prepared.raw)} bytes"
    if replaces is not None:
        assert prepared.account_nonce == replaces.account_nonce, (
            f"a replacement has the account nonce {prepared.account_nonce}, what it replaces {replaces.account_nonce}: "
            "both can be mined"
        )
        assert prepared.fee_per_gas_wei > replaces.fee_per_gas_wei, (
            f"a replacement offers {prepared.fee_per_gas_wei} wei after {replaces.fee_per_gas_wei}"
        )
