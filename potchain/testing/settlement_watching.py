"""Cases for settlement back ends: what they say of the chain and its events."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec

from potchain.codec import decode
from potchain.crypto import keccak256
from potchain.errors import SettlementError
from potchain.primitives import uint256
from potchain.settlement import (
    Action,
    BatchSeen,
    DepositSeen,
    Entry,
    PauseSeen,
    RootSeen,
    RotationSeen,
)
from potchain.settlement.actions import SCHEMES, owners_hash
from potchain.settlement.digests import can_do
from potchain.settlement.interface import EVENTS_PER_CALL_MAX
from potchain.testing.settlement_bench import (
    ALICE,
    BOB,
    HASTY_MS,
    OWNERS,
    THRESHOLD,
    TRIES,
    Bench,
    Inspected,
    batch,
    key_of,
    refused,
)

CANCELLED_AFTER = (0, 1, 3, 10)
"""Turns of the loop after which a call is cancelled."""


async def _factory(bench: Bench) -> None:
    factory = bench.factory
    assert factory.name.isidentifier(), f"the name {factory.name!r} cannot stand in [settlement.<name>]"
    assert factory.version, "the factory has no version"
    assert factory.scheme in SCHEMES, f"the scheme {factory.scheme!r} is none of {SCHEMES}"
    assert issubclass(factory.options_type, msgspec.Struct), "options_type is no msgspec.Struct"
    other = next(scheme for scheme in SCHEMES if scheme != factory.scheme)
    foreign = msgspec.structs.replace(bench.contract, scheme=other)

    async def create() -> Inspected:
        return bench.backend(contract=foreign)

    await refused(create(), f"create for the scheme {other!r} with a factory for {factory.scheme!r}", "not_configured")


async def _misbound(bench: Bench) -> None:
    nobody = msgspec.structs.replace(bench.contract, address=key_of("nobody").address)
    elsewhere = msgspec.structs.replace(bench.contract, chain_id=bench.contract.chain_id + 1)
    for contract, code in ((nobody, "wrong_contract"), (elsewhere, "wrong_chain")):
        backend = bench.backend(contract=contract)
        await refused(backend.open(), f"open with a contract that is not there ({code})", code)
        await backend.close()


async def _opening(bench: Bench) -> None:
    backend = bench.backend()
    await backend.close()
    with suppress(SettlementError):
        await backend.observe(0)
    await backend.open()
    await backend.open()
    first = await backend.observe(0)
    await backend.close()
    await backend.close()
    with suppress(SettlementError):
        await backend.observe(0)
    await backend.open()
    assert (await backend.observe(0)).contract == first.contract, "after close and open it tells another contract"
    await backend.close()


async def _fresh(bench: Bench) -> None:
    async with bench.opened() as backend:
        view = await backend.observe(0)
    assert view.events == (), "a fresh contract has had no event"
    told = msgspec.structs.asdict(view.contract)
    expected = {
        "next_nonce": 0, "next_event_nonce": 0, "epoch": 0, "threshold": THRESHOLD, "paused": False,
        "owners": tuple(key.address for key in OWNERS), "deposited": 0, "allocated": 0,
    }  # fmt: skip
    assert told == expected, f"a fresh contract is told as {told}"


async def _gapless(bench: Bench) -> None:
    for number in range(5):
        bench.scenario.deposit(ALICE, 10 + number)
    async with bench.opened(relayer=None) as backend:
        events = (await backend.observe(0)).events
        assert [event.event_nonce for event in events] == list(range(5)), f"of 5 deposits it tells {len(events)}"
        amounts = [int.from_bytes(decode(DepositSeen, event.payload).amount, "big") for event in events]
        assert amounts == [10, 11, 12, 13, 14], f"the deposits were of 10 to 14, told are {amounts}"
        for first in (0, 3, 5, 1, 0):
            again = (await backend.observe(first)).events
            assert again == events[first:], f"observe({first}) tells other events than observe(0) did"
    async with bench.opened(confirmations=0) as other:
        assert (await other.observe(0)).events == events, "a second back end tells other events"


async def _confirmed(bench: Bench) -> None:
    async with bench.opened(confirmations=3) as backend:
        bench.scenario.deposit(ALICE, 7)
        for above in range(3):
            view = await backend.observe(0)
            assert view.events == (), f"an event counts with {above} blocks above it, 3 are asked"
            assert view.contract.next_event_nonce == 1, "the contract is not told as of the newest block"
            bench.scenario.mine(1)
        assert len((await backend.observe(0)).events) == 1, "an event with 3 blocks above it does not count"


async def _portions(bench: Bench) -> None:
    count = EVENTS_PER_CALL_MAX + 3
    for number in range(count):
        bench.scenario.deposit(ALICE, number + 1)
    async with bench.opened() as backend:
        nonces: list[int] = []
        for _ in range(TRIES):
            nonces += [event.event_nonce for event in (await backend.observe(len(nonces))).events]
        assert len(nonces) == count, f"of {count} deposits it tells {len(nonces)}"


async def _payloads(bench: Bench) -> None:
    root, entries = keccak256(b"conformance"), (Entry(BOB, uint256(5)),)
    later = tuple(sorted((*[key.address for key in OWNERS[1:]], key_of("new owner").address)))
    actions = [
        batch(0, ALICE, 3),
        Action(nonce=1, epoch=0, kind="root", height=1, entries=entries, root=root),
        Action(nonce=2, epoch=0, kind="pause", height=1, paused=True),
        Action(nonce=3, epoch=0, kind="pause", height=1, paused=False),
        Action(nonce=4, epoch=0, kind="rotate", height=1, owners=later, threshold=2),
    ]
    is_safe = bench.contract.scheme == "safe"  # there the Safe calls the contract, whoever makes it do so
    relayer = bench.contract.safe if is_safe else bench.scenario.relay_keys[0].address
    expected = [
        DepositSeen(ALICE, uint256(100)),
        BatchSeen(0, uint256(3), relayer),
        RootSeen(1, root, uint256(5), relayer),
        PauseSeen(2, True),
        PauseSeen(3, False),
        RotationSeen(4, 1, owners_hash(later), 2),
    ]
    bench.scenario.deposit(ALICE, 100)
    async with bench.opened() as backend:
        done = [action for action in actions if can_do(bench.contract.scheme, action.kind)]
        sent = [await bench.relayed(backend, bench.ready(action)) for action in done]
        view = await backend.observe(0)
        for event, seen in zip(view.events, expected, strict=False):
            found = decode(type(seen), event.payload)
            assert found == seen, f"event {event.event_nonce} is told as {found}, it was {seen}"
        assert len(view.events) == 1 + len(done), f"after a deposit and {len(done)} actions: {len(view.events)} events"
        by = [event.transaction_hash for event in view.events[1:]]
        assert by == [prepared.transaction_hash for prepared in sent], "events name other transactions than did them"
        books = (view.contract.deposited, view.contract.allocated)
        assert books == (100, 8), f"deposited and allocated are {books}, not (100, 8)"
        if len(done) == len(actions):
            changed = (view.contract.owners, view.contract.threshold, view.contract.epoch)
            assert changed == (later, 2, 1), f"after a rotation owners, threshold and epoch are {changed}"


async def _taken_back(bench: Bench) -> None:
    async with bench.opened(confirmations=2) as backend:
        bench.scenario.mine(1)
        bench.scenario.deposit(ALICE, 1)
        bench.scenario.mine(1)
        assert (await backend.observe(0)).events == ()
        bench.scenario.reorganise(2)
        bench.scenario.deposit(BOB, 2)
        bench.scenario.mine(5)
        await _only_bob(backend)


async def _deeper(bench: Bench) -> None:
    async with bench.opened(confirmations=1) as backend:
        bench.scenario.mine(3)
        bench.scenario.deposit(ALICE, 1)
        bench.scenario.mine(2)
        (event,) = (await backend.observe(0)).events
        assert await backend.stands(event), "the block of an event that was just told does not stand"
        bench.scenario.reorganise(4)
        assert not await backend.stands(event), "the block of an event stands, and a reorganisation has taken it back"
        bench.scenario.deposit(BOB, 2)
        bench.scenario.mine(5)
        assert not await backend.stands(event), "a block stands again with others above its height"
        for _ in range(TRIES):
            try:
                return await _only_bob(backend)
            except SettlementError:
                continue  # it may find a contradiction to what it knew, and begin anew
        raise AssertionError("after a reorganisation below what was confirmed it never finds the events again")


async def _only_bob(backend: Inspected) -> None:
    told = [decode(DepositSeen, event.payload).account for event in (await backend.observe(0)).events]
    assert told == [BOB], "a deposit counts that a reorganisation has taken back" if ALICE in told else f"told: {told}"


async def _far_away(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, 1)
    async with bench.opened() as backend:
        (event,) = (await backend.observe(0)).events
        view = await backend.observe(0)
        unmined = msgspec.structs.replace(event, block_number=view.head_number + 1_000)
        assert not await backend.stands(unmined), "a block stands that is not made yet"
        other = msgspec.structs.replace(event, block_hash=bytes(32))
        assert not await backend.stands(other), "a block stands by its height alone"
        with suppress(SettlementError):
            assert (await backend.observe(1_000)).events == (), "events of nonces that the contract has not had"
        assert (await backend.observe(0)).events == (event,)


async def _silence(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, 10)
    async with bench.opened() as calm:
        (event,) = (await calm.observe(0)).events
        ready = bench.ready(batch(0, ALICE, 4))
        prepared = await calm.prepare(ready)
    backend = bench.backend(deadline_ms=HASTY_MS)
    bench.scenario.cut()
    await refused(backend.open(), "open while nobody answers", "unreachable")
    bench.scenario.restore()
    await _persistently(backend, "open")
    bench.scenario.cut()
    await refused(backend.observe(1), "observe while nobody answers", "unreachable")
    await refused(backend.stands(event), "stands while nobody answers", "unreachable")
    await refused(backend.prepare(ready), "prepare while nobody answers", "unreachable")
    await refused(backend.submit(prepared), "submit while nobody answers", "unreachable")
    await refused(backend.follow(prepared), "follow while nobody answers", "unreachable")
    bench.scenario.restore()
    await _persistently(backend, "observe")
    await backend.close()
    async with bench.opened() as again:
        await again.submit(prepared)
        bench.scenario.mine(1)
        phase = (await again.follow(prepared)).phase
        assert phase == "mined", f"submitted again after a cut, it is {phase}"
    bench.require_credited(ALICE, 4)


async def _persistently(backend: Inspected, call: str) -> None:
    """Until it succeeds: on a busy machine a short deadline may be missed."""
    for _ in range(TRIES):
        try:
            await (backend.open() if call == "open" else backend.observe(0))
        except SettlementError:
            continue
        return
    raise AssertionError(f"{call} fails for ever after a cut that is over")


async def _cancelled(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, 10)
    async with bench.opened() as backend:
        for turns in CANCELLED_AFTER:
            call = asyncio.ensure_future(backend.observe(0))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
            assert len((await backend.observe(0)).events) == 1, f"after a call that was cancelled in turn {turns}"


CHECKS = {
    "the factory says what it is, and refuses other schemes": _factory,
    "open refuses another contract and another chain": _misbound,
    "open and close in any order": _opening,
    "a fresh contract is told as it is": _fresh,
    "events have no gap and never change": _gapless,
    "events wait for their confirmations": _confirmed,
    "many events come in portions": _portions,
    "every kind of event is told as it was": _payloads,
    "an event taken back before it counted never counts": _taken_back,
    "a reorganisation below what was confirmed is noticed": _deeper,
    "what is not there does not stand": _far_away,
    "silence is unreachable, in time, and passes": _silence,
    "a call that is cancelled leaves no trace": _cancelled,
}
"""By name."""
