"""The primary dies, freezes, or is cut off: another takes its place, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest
from fault_load import SteadyLoad, assert_nothing_lost_or_doubled, primary
from live_network import LiveNetwork, address, live_network
from severable_links import SeverableLinks

from potchain.genesis import Parameters

SETTLE_S = 1.0
"""Load before the first fault, and after the last."""
DOWN_S = 6.0
FROZEN_S = 8.0

FAST = Parameters(view_timeout_ms=500, view_timeout_cap_ms=4_000)
"""For tests whose promise does not depend on how long the timeout is."""


async def kill_and_restart(live: LiveNetwork, index: int, down_s: float) -> None:
    live.kill(index)
    await asyncio.sleep(down_s)
    await asyncio.to_thread(live.start, index)


def test_the_next_primary_takes_over_when_the_primary_is_killed(live: LiveNetwork) -> None:
    """With the default timeouts; that it takes at most twice the view timeout is measured in bench/faults.py."""
    killed: list[float] = []

    async def faults() -> None:
        await asyncio.sleep(SETTLE_S)
        for _ in range(2):
            index = await primary(live)
            killed.append(time.monotonic())
            await kill_and_restart(live, index, DOWN_S)

    async def run() -> SteadyLoad:
        load = SteadyLoad(live, 40)
        await load.run(asyncio.create_task(faults()))
        return load

    load = asyncio.run(run())
    assert_nothing_lost_or_doubled(live, load)
    assert all(load.gap_after(moment) < 60 for moment in killed)
    assert live.get(0, "/v1/consensus")["view"] >= 1


def test_a_frozen_primary_is_replaced_and_falls_in_line_when_it_wakes(live: LiveNetwork) -> None:
    async def faults() -> None:
        await asyncio.sleep(SETTLE_S)
        index = await primary(live)
        process = live.processes[index]
        assert process is not None
        process.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(FROZEN_S)
        process.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(SETTLE_S)

    async def run() -> SteadyLoad:
        load = SteadyLoad(live, 40)
        await load.run(asyncio.create_task(faults()))
        return load

    assert_nothing_lost_or_doubled(live, asyncio.run(run()))


@pytest.fixture
def fast(tmp_path: Path) -> LiveNetwork:  # type: ignore[misc]
    """Four validators with short view timeouts, running."""
    with live_network(tmp_path / "net", parameters=FAST) as network:
        network.start()
        yield network  # type: ignore[misc]


def test_all_four_killed_in_the_middle_of_a_view_change(fast: LiveNetwork) -> None:
    ids = fast.pay(1, 5)
    for round_ in range(2):
        index = asyncio.run(primary(fast))
        gone, left = (index, (index + 1) % 4), ((index + 2) % 4, (index + 3) % 4)
        fast.kill(*gone)
        waiting = fast.transfer(round_ + 1)
        problem = fast.refusal(left[0], waiting, wait="final", timeout_s=2)
        assert problem.code == "timeout"
        assert fast.get(left[0], "/v1/consensus")["mode"] == "view change", "two of four cannot finish it"
        fast.kill(*left)
        fast.start()
        ids += fast.pay(index, 3, sender=round_ + 7)
    height = fast.get(0, "/v1/status")["certified_height"]
    assert all(fast.wait_final(index, height)["height"] >= height for index in range(4))
    for transaction_id in ids:
        assert fast.get(3, f"/v1/transactions/{transaction_id}")["state"] == "executed"
    accounts = [fast.get(2, f"/v1/accounts/{address(fast.keys[round_ + 1])}") for round_ in range(2)]
    assert [account["nonce"] for account in accounts] == [1, 1], "what waited in the view change is final, once"


def test_a_network_cut_in_halves_stands_still_and_goes_on_when_it_heals(tmp_path: Path) -> None:
    with live_network(tmp_path / "net", parameters=FAST) as live, SeverableLinks(live) as links:
        live.start()
        live.pay(0, 5)
        links.partition((0, 1), (2, 3))
        document = live.transfer(2)
        problem = live.refusal(0, document, wait="final", timeout_s=6)
        assert problem.code == "timeout"
        height = max(live.get(index, "/v1/status")["height"] for index in range(4))
        links.heal()
        live.wait_final(3, height + 1)
        live.pay(3, 5, sender=4)
        assert len({live.block(index, height + 1)["state_root"] for index in (0, 3)}) == 1
