"""Our back ends pass the kit on a real chain, the simulator's in virtual time, and broken ones do not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from settlement_scenarios import AnvilScenario, SimulatedFactory, SimulatedScenario

from potchain import BackendContext, ChainView, Prepared, ReadyAction, RelayState, SettlementError
from potchain.testing import settlement_cases, settlement_conformance
from potchain_multisig import EvmFactory

ROOT = Path(__file__).parents[2]
NOT_SIMULATED = (
    "open refuses another contract and another chain",  # it knows no other
    "without a relay key it only watches",  # every simulated node relays
)

test_multisig = settlement_conformance(EvmFactory("multisig"), partial(AnvilScenario, "multisig"))
test_safe = settlement_conformance(EvmFactory("safe"), partial(AnvilScenario, "safe"))
test_simulated = settlement_conformance(SimulatedFactory(), SimulatedScenario, without=NOT_SIMULATED)
test_simulated_in_a_row = settlement_conformance(
    SimulatedFactory(), partial(SimulatedScenario, relay_ahead=3), without=NOT_SIMULATED
)


class Wrapped:
    """A back end with something wrong."""

    def __init__(self, backend: Any, context: BackendContext) -> None:  # noqa: ANN401
        self.backend = backend
        self.context = context

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.backend, name)


class Skips(Wrapped):
    """Leaves out what it has seen before."""

    async def observe(self, first: int) -> ChainView:
        view: ChainView = await self.backend.observe(first)
        return msgspec.structs.replace(view, events=view.events[1:] if first == 0 else view.events)


class Hurries(Wrapped):
    """Tells events of the newest block, and says that they are deep enough."""

    async def observe(self, first: int) -> ChainView:
        self.backend._endpoint.options = msgspec.structs.replace(self.backend._endpoint.options, confirmations=0)
        view: ChainView = await self.backend.observe(first)
        return msgspec.structs.replace(view, confirmed_number=view.head_number - self.context.confirmations)


class Sends(Wrapped):
    """Submits what it prepares."""

    async def prepare(self, ready: ReadyAction, now_ms: int, replaces: Prepared | None = None) -> Prepared:
        prepared: Prepared = await self.backend.prepare(ready, now_ms, replaces)
        await self.backend.submit(prepared)
        return prepared


class Remembers(Wrapped):
    """Knows only what it has prepared itself in this life."""

    known: tuple[bytes, ...] = ()

    async def prepare(self, ready: ReadyAction, now_ms: int, replaces: Prepared | None = None) -> Prepared:
        prepared: Prepared = await self.backend.prepare(ready, now_ms, replaces)
        self.known = (*self.known, prepared.transaction_hash)
        return prepared

    async def follow(self, prepared: Prepared) -> RelayState:
        if prepared.transaction_hash not in self.known:
            return RelayState(phase="unknown")
        state: RelayState = await self.backend.follow(prepared)
        return state


class Appends(Wrapped):
    """Makes a second transaction in place of a replacement."""

    async def prepare(self, ready: ReadyAction, now_ms: int, replaces: Prepared | None = None) -> Prepared:
        prepared: Prepared = await self.backend.prepare(ready, now_ms, replaces)
        if replaces is None:
            return prepared
        return msgspec.structs.replace(prepared, account_nonce=replaces.account_nonce + 1)


class Undercuts(Appends):
    """Replaces at the same fee."""

    async def prepare(self, ready: ReadyAction, now_ms: int, replaces: Prepared | None = None) -> Prepared:
        prepared: Prepared = await self.backend.prepare(ready, now_ms, replaces)
        return prepared if replaces is None else msgspec.structs.replace(prepared, fee_per_gas_wei=10)


class Raises(Wrapped):
    """Passes on what its HTTP library raises."""

    async def observe(self, first: int) -> ChainView:
        try:
            view: ChainView = await self.backend.observe(first)
        except SettlementError:
            raise ConnectionResetError("connection reset by peer") from None
        return view


class Invents(Wrapped):
    """Has a code of its own for what goes wrong."""

    async def follow(self, prepared: Prepared) -> RelayState:
        try:
            state: RelayState = await self.backend.follow(prepared)
        except SettlementError as fault:
            raise SettlementError("oops", fault.detail) from None
        return state


class Waits(Wrapped):
    """Waits for an answer for as long as it takes."""

    async def submit(self, prepared: Prepared) -> None:
        try:
            await self.backend.submit(prepared)
        except SettlementError as fault:
            if fault.code == "unreachable":
                await asyncio.get_running_loop().create_future()
            raise


class Shuffles(Wrapped):
    """Joins signatures in their own order, not in that of their owners."""

    async def prepare(self, ready: ReadyAction, now_ms: int, replaces: Prepared | None = None) -> Prepared:
        other = tuple(sorted(ready.signatures, key=lambda pair: pair[1]))
        ready = msgspec.structs.replace(ready, signatures=other)
        prepared: Prepared = await self.backend.prepare(ready, now_ms, replaces)
        return prepared


class Believes(Wrapped):
    """Thinks that what was seen stays for ever."""

    async def stands(self, event: object) -> bool:
        return True


class Complains(Wrapped):
    """Takes it for a fault that a transaction is known already."""

    sent: tuple[bytes, ...] = ()

    async def submit(self, prepared: Prepared) -> None:
        if prepared.transaction_hash in self.sent:
            raise SettlementError("refused", "already known")
        self.sent = (*self.sent, prepared.transaction_hash)
        await self.backend.submit(prepared)


class Broken(SimulatedFactory):
    """Wraps every back end."""

    def __init__(self, wrap: Callable[[Any, BackendContext], Any]) -> None:
        self._wrap = wrap

    def create(self, options: msgspec.Struct, context: BackendContext) -> Any:  # noqa: ANN401
        return self._wrap(super().create(options, context), context)


BROKEN = [
    (Skips, "events have no gap", "a gap"),
    (Hurries, "events wait for", "confirmed is"),
    (Sends, "prepare sends nothing", "prepare sends something"),
    (Remembers, "what is prepared outlives", "another life submitted is unknown"),
    (Appends, "a replacement takes", "both can be mined"),
    (Undercuts, "a replacement takes", "offers 10 wei after 10"),
    (Raises, "silence is unreachable", "observe raised ConnectionResetError.*not a SettlementError"),
    (Invents, "silence is unreachable", "'oops', which is none of FAULTS"),
    (Waits, "silence is unreachable", "submit has not ended"),
    (Shuffles, "any owners", "UnsortedSigners"),
    (Believes, "a reorganisation below", "taken it back"),
    (Complains, "submitting twice", "refused: already known"),
]
"""What is wrong, the case that notices, and its words."""


@pytest.mark.parametrize(("wrap", "name", "complaint"), BROKEN)
def test_a_broken_back_end_is_caught(wrap: type[Wrapped], name: str, complaint: str) -> None:
    (case,) = (case for case in settlement_cases(Broken(wrap), SimulatedScenario) if case.name.startswith(name))
    with pytest.raises((AssertionError, SettlementError), match=complaint):
        case.check()


def test_a_case_that_there_is_not_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="no case is called 'gas is free'"):
        list(settlement_cases(SimulatedFactory(), SimulatedScenario, without=["gas is free"]))


def test_the_skeleton_of_the_page_runs() -> None:
    page = (ROOT / "docs" / "how-to" / "write-a-settlement-back-end.md").read_text(encoding="utf-8")
    (skeleton,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    module: dict[str, Any] = {"__name__": "potchain_example"}
    exec(skeleton, module)
    (factory,) = module["settlement_backends"]()
    cases = {case.name: case for case in settlement_cases(factory, SimulatedScenario)}
    cases["the factory says what it is, and refuses other schemes"].check()
    with pytest.raises(SettlementError, match="unreachable: nobody answers at http"):
        cases["a fresh contract is told as it is"].check()


def test_the_page_counts_right() -> None:
    page = (ROOT / "docs" / "how-to" / "write-a-settlement-back-end.md").read_text(encoding="utf-8")
    assert "shows twelve broken back\nends" in page
    assert len(BROKEN) == 12
