"""Cases for settlement back ends: what becomes of actions. Each ends with the money: decided once, paid once."""

from __future__ import annotations

from itertools import combinations

import msgspec

from potchain.errors import SettlementError
from potchain.settlement import Action
from potchain.testing.settlement_bench import ALICE, BOB, NOW_MS, OWNERS, THRESHOLD, Bench, batch, key_of, refused

MONEY = 1_000
"""Base units in the contract."""
REPLACEMENTS = 3


async def _carried_out(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    async with bench.opened() as backend:
        prepared = await backend.prepare(bench.ready(batch(0, ALICE, 7)))
        await backend.submit(prepared)
        phase = (await backend.follow(prepared)).phase
        assert phase == "pending", f"submitted and not mined, it is {phase}"
        for above in range(3):
            bench.scenario.mine(1)
            state = await backend.follow(prepared)
            found = (state.phase, state.confirmations)
            assert found == ("mined", above), f"mined, with {above} blocks above it, it is {found}"
        view = await backend.observe(1)
        assert view.contract.next_nonce == 1, f"the contract's next nonce is told as {view.contract.next_nonce}"
        assert [event.kind for event in view.events] == ["batch"], "the event of the batch is not told"
    bench.require_credited(ALICE, 7)


async def _nothing_sent(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    async with bench.opened() as backend:
        prepared = await backend.prepare(bench.ready(batch(0, ALICE, 7)))
        phase = (await backend.follow(prepared)).phase
        assert phase == "unknown", f"prepared and never submitted, it is {phase}: prepare sends something"
        bench.scenario.mine(2)
        bench.require_credited(ALICE, 0)
        assert (await backend.follow(prepared)).phase == "unknown", "prepared and never submitted, it was mined"


async def _twice(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    async with bench.opened() as backend, bench.opened() as other:
        prepared = await backend.prepare(bench.ready(batch(0, ALICE, 7)))
        for sender in (backend, backend, other):
            await sender.submit(prepared)
        bench.scenario.mine(1)
        for sender in (backend, other):
            try:
                await sender.submit(prepared)
            except SettlementError as fault:
                raise AssertionError(f"submit after it is mined: {fault}; it is fine to have it already") from fault
        bench.scenario.mine(1)
        state = await backend.follow(prepared)
        assert (state.phase, state.confirmations) == ("mined", 1), f"submitted again after it was mined, it is {state}"
    bench.require_credited(ALICE, 7)


async def _another_life(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    ready = bench.ready(batch(0, ALICE, 7))
    async with bench.opened() as first:
        prepared = await first.prepare(ready)
    async with bench.opened() as second:
        await second.submit(prepared)
    async with bench.opened() as third:
        phase = (await third.follow(prepared)).phase
        assert phase == "pending", f"what another life submitted is {phase}, and it waits in the pool"
        replacement = await third.prepare(ready, prepared)
        await third.submit(replacement)
    bench.scenario.mine(1)
    async with bench.opened() as fourth:
        phases = [(await fourth.follow(each)).phase for each in (prepared, replacement)]
        assert phases == ["replaced", "mined"], f"what other lives submitted is {phases}"
    bench.require_credited(ALICE, 7)


async def _replayed(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    ready = bench.ready(batch(0, ALICE, 7))
    async with bench.opened() as backend, bench.opened() as other:
        await bench.relayed(backend, ready)
        for each in (backend, other):
            fault = await refused(each.prepare(ready), "prepare what was executed", "would_revert")
            assert fault.detail, "a refusal by the contract has no words"
    bench.require_credited(ALICE, 7)


async def _race(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    ready = bench.ready(batch(0, ALICE, 7))
    async with bench.opened(relayer=0) as one, bench.opened(relayer=1) as other:
        sent = [(backend, await backend.prepare(ready)) for backend in (one, other)]
        for backend, prepared in sent:
            await backend.submit(prepared)
        bench.scenario.mine(2)
        states = [await backend.follow(prepared) for backend, prepared in sent]
        mined = [state.phase for state in states].count("mined")
        assert mined == 1, f"of two relayers of one action {mined} did it: {states}"
        lost = next(state for state in states if state.phase != "mined")
        assert lost.phase != "reverted" or lost.detail, "a transaction is reverted, and nobody says why"
    bench.require_credited(ALICE, 7)


async def _replaced(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    ready = bench.ready(batch(0, ALICE, 7))
    async with bench.opened() as backend:
        sent = [await backend.prepare(ready)]
        await backend.submit(sent[0])
        for attempt in range(1, REPLACEMENTS + 1):
            sent.append(await backend.prepare(ready, sent[-1], now_ms=NOW_MS + attempt))
            await backend.submit(sent[-1])
        bench.scenario.mine(1)
        phases = [(await backend.follow(prepared)).phase for prepared in sent]
        assert phases == ["replaced"] * REPLACEMENTS + ["mined"], f"the last of {len(sent)} is mined, told: {phases}"
        await refused(backend.prepare(ready, sent[-1]), "replace what is mined", "would_revert")
    bench.require_credited(ALICE, 7)


async def _dropped(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    async with bench.opened() as backend:
        prepared = await backend.prepare(bench.ready(batch(0, ALICE, 7)))
        await backend.submit(prepared)
        bench.scenario.drop_waiting()
        phase = (await backend.follow(prepared)).phase
        assert phase == "unknown", f"every pool has forgotten it, and it is {phase}"
        await backend.submit(prepared)
        bench.scenario.mine(1)
        phase = (await backend.follow(prepared)).phase
        assert phase == "mined", f"submitted again after the pools forgot it, it is {phase}"
    bench.require_credited(ALICE, 7)


async def _unmined(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    async with bench.opened() as backend:
        prepared = await bench.relayed(backend, bench.ready(batch(0, ALICE, 7)))
        bench.scenario.mine(1)
        bench.scenario.reorganise(2)
        phase = (await backend.follow(prepared)).phase
        assert phase == "unknown", f"a reorganisation has taken it back, and it is {phase}"
        next_nonce = (await backend.observe(0)).contract.next_nonce
        assert next_nonce == 0, f"a reorganisation has taken the batch back, and the next nonce is told as {next_nonce}"
        await backend.submit(prepared)
        bench.scenario.mine(1)
        phase = (await backend.follow(prepared)).phase
        assert phase == "mined", f"submitted again after a reorganisation, it is {phase}"
    bench.require_credited(ALICE, 7)


async def _signers(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    async with bench.opened() as backend:
        for nonce, signers in enumerate(combinations(OWNERS, THRESHOLD)):
            await bench.relayed(backend, bench.ready(batch(nonce, ALICE, 7), signers))
    bench.require_credited(ALICE, 7 * (nonce + 1))


async def _refusals(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    good = bench.ready(batch(0, ALICE, 7))
    stranger = (*OWNERS[: THRESHOLD - 1], key_of("stranger"))
    foreign = msgspec.structs.replace(good, signatures=bench.ready(batch(0, BOB, 7)).signatures)
    cases = {
        "more than the contract holds": (bench.ready(batch(0, ALICE, MONEY + 1)), "underfunded"),
        "too few signatures": (bench.ready(good.action, OWNERS[: THRESHOLD - 1]), "would_revert"),
        "a stranger's signature": (bench.ready(good.action, stranger), "would_revert"),
        "signatures of another action": (foreign, "would_revert"),
    }
    async with bench.opened() as backend:
        for what, (ready, code) in cases.items():
            fault = await refused(backend.prepare(ready), f"prepare with {what}", code)
            assert fault.detail, f"the refusal of {what} has no words"
        pause = Action(nonce=0, epoch=0, kind="pause", height=1, paused=True)
        await bench.relayed(backend, bench.ready(pause))
        paused = (await backend.observe(1)).contract.paused
        assert paused, "the contract is paused and told as not paused"
        await refused(backend.prepare(bench.ready(batch(1, ALICE, 7))), "prepare a batch while paused", "paused")
        pause = Action(nonce=1, epoch=0, kind="pause", height=1, paused=False)
        await bench.relayed(backend, bench.ready(pause))
        await bench.relayed(backend, bench.ready(batch(2, ALICE, 7)))
    bench.require_credited(ALICE, 7)


async def _in_a_row(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    first, second = (bench.ready(batch(nonce, ALICE, 7)) for nonce in range(2))
    async with bench.opened() as backend:
        if backend.relay_ahead == 1:
            await refused(backend.prepare(second), "prepare an action that is not the contract's next", "would_revert")
            await bench.relayed(backend, first)
            await bench.relayed(backend, second)
        else:
            sent = []
            for ready in (first, second):
                sent.append(await backend.prepare(ready))
                await backend.submit(sent[-1])
            nonces = [prepared.account_nonce for prepared in sent]
            assert nonces[1] == nonces[0] + 1, f"relay_ahead is {backend.relay_ahead}, the account nonces are {nonces}"
            bench.scenario.mine(2)
            phases = [(await backend.follow(prepared)).phase for prepared in sent]
            assert phases == ["mined", "mined"], f"two actions in a row are {phases}"
    bench.require_credited(ALICE, 14)


async def _watching_only(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    backend = bench.backend(relayer=None)
    await backend.open()
    assert len((await backend.observe(0)).events) == 1
    ready = bench.ready(batch(0, ALICE, 7))
    await refused(backend.prepare(ready), "prepare without a relay key", "not_configured")
    await backend.close()


async def _empty_wallet(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    bench.scenario.empty(bench.scenario.relay_keys[0].address)
    async with bench.opened() as backend:
        await refused(backend.prepare(bench.ready(batch(0, ALICE, 7))), "prepare with an empty wallet", "empty_wallet")
        assert len((await backend.observe(0)).events) == 1


async def _rubbish(bench: Bench) -> None:
    bench.scenario.deposit(ALICE, MONEY)
    async with bench.opened() as backend:
        prepared = await backend.prepare(bench.ready(batch(0, ALICE, 7)))
        spoilt = (prepared.raw[:-1], prepared.raw[: len(prepared.raw) // 2], b"\x00", bytes(100))
        for raw in spoilt:
            wrong = msgspec.structs.replace(prepared, raw=raw)
            await refused(backend.submit(wrong), "submit a transaction that is none")
        never = msgspec.structs.replace(prepared, transaction_hash=bytes(32))
        assert (await backend.follow(never)).phase == "unknown", "a transaction that never was is known"
        await backend.submit(prepared)
        bench.scenario.mine(1)
        assert (await backend.follow(prepared)).phase == "mined", "rubbish kept a transaction from being mined"
    bench.require_credited(ALICE, 7)


CHECKS = {
    "an action is carried out and followed": _carried_out,
    "prepare sends nothing": _nothing_sent,
    "submitting twice is harmless": _twice,
    "what is prepared outlives the back end": _another_life,
    "an action that was executed is refused": _replayed,
    "two relayers do an action once": _race,
    "a replacement takes the place and pays more": _replaced,
    "what pools forget can be sent again": _dropped,
    "what a reorganisation takes back can be sent again": _unmined,
    "any owners up to the threshold can sign": _signers,
    "what the contract would refuse is named and not sent": _refusals,
    "actions in a row": _in_a_row,
    "without a relay key it only watches": _watching_only,
    "an empty wallet is named": _empty_wallet,
    "rubbish is refused": _rubbish,
}
"""By name."""
