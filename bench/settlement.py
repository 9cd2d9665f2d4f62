"""What settlement takes and what it costs: four real validators and a real EVM chain (anvil, 1 s blocks).

    python bench/settlement.py delay --withdrawals 20
    python bench/settlement.py stream --withdrawals 60 --confirmations 15
    python bench/settlement.py rate --payouts 10000 --seconds 60
    python bench/settlement.py all --out bench/results/settlement.json

`delay`: from the moment when a client sees the block of a withdrawal decided until the contract has credited it; one
withdrawal at a time, at any moment of the chain's second. `stream`: the same with a withdrawal every second, whatever
became of those before; a batch waits until the one before it is signed, and at most `open_max` for their receipts.
`rate`: transfers final per s, as fast as they go, before anything is formed, while all payouts that are pending by
then are settled in batches, and when they all are. Load, nodes and chain share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

# The network of nodes and chain is the one that the tests use.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from live_network import LiveNetwork
from settlement_chain import Chain
from settlement_network import THRESHOLD, VALIDATORS, SettlementNetwork
from throughput import Client, cpu_seconds, family, prepare

from potchain.application.settlement.records import Terms
from potchain.cli.node_processes import free_base_port
from potchain.cli.testnet_folder import create_network, local_hosts
from potchain.client import NodeClient
from potchain.crypto import SigningKey
from potchain.genesis import Genesis, InitialBalance
from potchain.primitives import uint256

BLOCK_TIME_S = 1
PAYEES = 1_000
LOADERS = 1_000
BALANCE = 10**15
AMOUNT = 1_000
TREASURE = 10**15
SUBMIT = 200
"""Withdrawals in one request."""
LOOK_S = 0.02
WAIT_S = 900


@contextmanager
def network_of(folder: Path, args: argparse.Namespace) -> Iterator[tuple[SettlementNetwork, list[SigningKey], Genesis]]:
    """Running and configured, its contract deployed and not bound; keys for the load."""
    payees = [SigningKey(secrets.token_bytes(32)) for _ in range(PAYEES)]
    loaders = [SigningKey(secrets.token_bytes(32)) for _ in range(LOADERS)]
    made = create_network(
        folder,
        local_hosts(VALIDATORS, free_base_port(19_000, VALIDATORS)),
        chain_id="potchain-bench",
        accounts=0,
        funded=[InitialBalance(key.address, uint256(BALANCE)) for key in (*payees, *loaders)],
    )
    live = LiveNetwork(made, payees)
    with Chain() as chain:
        network = SettlementNetwork(live, chain)
        network.configure(confirmations=args.confirmations, **dict(args.setting))
        network.deploy(range(VALIDATORS), THRESHOLD)
        network.deposit(payees[0].address, TREASURE)
        chain.rpc("evm_setIntervalMining", BLOCK_TIME_S)
        try:
            live.start()
            yield network, loaders, made.genesis()
        finally:
            live.kill(*(index for index, process in enumerate(live.processes) if process is not None))


def delay(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds from decided to credited."""
    with tempfile.TemporaryDirectory() as folder, network_of(Path(folder) / "net", args) as (network, _, _):
        network.bind(range(VALIDATORS), THRESHOLD)
        network.wait(lambda status: status["next_event"] == 1, "the deposit is credited")
        seconds = []
        for number in range(args.withdrawals):
            account = network.live.keys[number].address
            document = network.withdrawal(number, AMOUNT)
            answer = asyncio.run(_decided(network.live.urls[number % VALIDATORS], document))
            decided = time.perf_counter()
            assert answer["receipt"]["status"] == "ok", answer
            while network.credited(account) == 0:
                time.sleep(LOOK_S)
            seconds.append(time.perf_counter() - decided)
            print(f"withdrawal {number + 1}: {seconds[-1]:.2f} s", flush=True)
            network.settled(actions=number + 1, events=number + 2)
            time.sleep(secrets.randbelow(1_000) / 1_000)  # the next one begins at any moment of the chain's second
        network.audited(paid=args.withdrawals)
    return {**_summary(seconds, args), "asked_max_s": 5}


def stream(args: argparse.Namespace) -> dict[str, Any]:
    """The same while withdrawals come steadily, whether those before are settled or not."""
    with tempfile.TemporaryDirectory() as folder, network_of(Path(folder) / "net", args) as (network, _, _):
        network.bind(range(VALIDATORS), THRESHOLD)
        network.wait(lambda status: status["next_event"] == 1, "the deposit is credited")
        decided: dict[int, float] = {}
        seconds: list[float] = []
        start = time.perf_counter()
        while len(seconds) < args.withdrawals:
            number = len(decided)
            if number < args.withdrawals and time.perf_counter() - start >= number * args.every:
                document = network.withdrawal(number, AMOUNT)
                asyncio.run(_decided(network.live.urls[number % VALIDATORS], document))
                decided[number] = time.perf_counter()
            for waiting in sorted(decided):
                if decided[waiting] and network.credited(network.live.keys[waiting].address):
                    seconds.append(time.perf_counter() - decided[waiting])
                    decided[waiting] = 0.0
            time.sleep(LOOK_S)
        network.wait(lambda status: not status["actions"], "every action is executed")
        actions = network.status(0)["next_executed"]
        _audit(network, args.withdrawals)
    return {**_summary(seconds, args), "every_s": args.every, "actions": actions}


def _summary(seconds: list[float], args: argparse.Namespace) -> dict[str, Any]:
    ordered = sorted(seconds)
    return {
        "withdrawals": len(ordered),
        "block_time_s": BLOCK_TIME_S,
        "confirmations": args.confirmations,
        "median_s": round(ordered[len(ordered) // 2], 2),
        "max_s": round(ordered[-1], 2),
    }


async def _decided(url: str, document: dict[str, Any]) -> dict[str, Any]:
    async with NodeClient(url) as client:
        return await client.submit_one(document, wait="decided", timeout_s=30)


def rate(args: argparse.Namespace) -> dict[str, Any]:
    """Transfers per second without and with settlement."""
    with tempfile.TemporaryDirectory() as folder, network_of(Path(folder) / "net", args) as (network, keys, genesis):
        began = time.perf_counter()
        prepared = prepare(keys, genesis, int((3 * args.seconds + args.warm_up) * args.most), args.batch, VALIDATORS)
        print(f"signed the load in {time.perf_counter() - began:.0f} s", flush=True)
        network.bind(range(VALIDATORS), THRESHOLD)
        network.wait(lambda status: status["next_event"] == 1, "the deposit is credited")
        _form(network, 0)
        asyncio.run(_withdraw(network, args.payouts))
        print(f"{args.payouts} payouts are pending", flush=True)
        return asyncio.run(_rates(network, Client(network.live.urls, prepared, args.outstanding), args))


def _form(network: SettlementNetwork, open_max: int) -> None:
    """Governance decides how many actions are formed; 0: payouts wait."""
    network.decide("set-parameter", "settlement.open_max", str(open_max))


async def _withdraw(network: SettlementNetwork, count: int) -> None:
    """So many payouts, all pending."""
    documents = [network.withdrawal(number % PAYEES, AMOUNT + number) for number in range(count)]
    async with NodeClient(network.live.urls[0]) as client:
        for first in range(0, count, SUBMIT):
            outcomes = await client.submit(documents[first : first + SUBMIT])
            assert {outcome.status for outcome in outcomes} == {"accepted"}, outcomes
        async with asyncio.timeout(WAIT_S):
            while (await _payouts(client))["pending"] < count:
                await asyncio.sleep(LOOK_S)


async def _payouts(client: NodeClient) -> dict[str, int]:
    sums = (await client.get("/v1/settlement"))["payouts"]
    return {status: int(sums[status]["count"]) for status in ("pending", "batched", "paid")}


async def _rates(network: SettlementNetwork, load: Client, args: argparse.Namespace) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session,
        NodeClient(network.live.urls[0]) as client,
    ):
        follower = asyncio.create_task(load.follow(session))
        pids = [process.process.pid for process in network.live.processes if process is not None]
        await _loaded(session, load, args, pids, args.warm_up)
        before = await _loaded(session, load, args, pids, args.seconds)
        await asyncio.to_thread(_form, network, Terms().open_max)
        began = time.perf_counter()
        during = await _loaded(session, load, args, pids, args.seconds)
        paid_under_load = (await _payouts(client))["paid"]
        print(f"{paid_under_load} payouts are paid; the rest without load", flush=True)
        async with asyncio.timeout(WAIT_S):
            while (await _payouts(client))["paid"] < args.payouts:
                await asyncio.sleep(LOOK_S)
        settled_s = time.perf_counter() - began
        after = await _loaded(session, load, args, pids, args.seconds)
        load.stopped = True
        await follower
        actions = (await client.get("/v1/settlement"))["next_executed"]
    await asyncio.to_thread(_audit, network, args.payouts)
    windows = {"before": before, "while_settling": during, "after": after}
    return {
        "payouts": args.payouts,
        "actions": actions,
        "block_time_s": BLOCK_TIME_S,
        "confirmations": args.confirmations,
        "seconds_per_window": args.seconds,
        "transfers_per_s": {name: round(window[0]) for name, window in windows.items()},
        "cpu_us_per_transfer_and_validator": {name: round(window[1], 1) for name, window in windows.items()},
        "ratio_to_before": round(during[0] / before[0], 3),
        "ratio_to_before_and_after": round(2 * during[0] / (before[0] + after[0]), 3),
        "cpu_ratio_to_before_and_after": round(2 * during[1] / (before[1] + after[1]), 3),
        "asked_ratio": 0.9,
        "paid_under_load": paid_under_load,
        "all_paid_after_s": round(settled_s, 1),
        "refused": load.refused,
    }


async def _loaded(
    session: aiohttp.ClientSession, load: Client, args: argparse.Namespace, pids: list[int], seconds: float
) -> tuple[float, float]:
    """Load for that long, as fast as it goes: transfers final per second, and CPU µs of a validator for each."""
    final, cpu = set(load.final), _cpu_s(pids)
    start = time.perf_counter()
    until = start + seconds
    lanes = range(len(load.urls))
    await asyncio.gather(
        *(load.saturate(session, lane, args.batch, until) for lane in lanes for _ in range(args.parallel))
    )
    assert all(load.queues), "the load ran out; sign more (--most)"
    async with asyncio.timeout(WAIT_S):
        while load.sent.keys() - load.final.keys():
            await asyncio.sleep(LOOK_S)
    done = [when for each, when in load.final.items() if each in load.sent and each not in final]
    return len(done) / (max(done) - start), (_cpu_s(pids) - cpu) / len(pids) / len(done) * 1e6


def _cpu_s(pids: list[int]) -> float:
    return sum(cpu_seconds(member) for pid in pids for member in family(pid))


def _audit(network: SettlementNetwork, paid: int) -> None:
    network.wait(lambda status: status["payouts"]["paid"]["count"] == paid, "every node knows it")
    network.audited(paid=paid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["delay", "stream", "rate", "all"])
    parser.add_argument("--withdrawals", type=int, default=20)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between the withdrawals of `stream`")
    parser.add_argument("--payouts", type=int, default=10_000)
    parser.add_argument("--confirmations", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60, help="length of each of three windows of load")
    parser.add_argument("--warm-up", type=float, default=5, help="seconds of load before the first window")
    parser.add_argument("--batch", type=int, default=200, help="transfers in one request")
    parser.add_argument("--outstanding", type=int, default=4_000, help="transfers sent and not final, at most")
    parser.add_argument("--parallel", type=int, default=2, help="requests under way per node")
    parser.add_argument("--most", type=int, default=4_000, help="transfers to sign per second of load")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE", help="a number of [settlement] on every node",
        type=lambda text: (text.partition("=")[0], int(text.partition("=")[2])),
    )  # fmt: skip
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    measures = {"delay": delay, "stream": stream, "rate": rate}
    found = {name: measure(args) for name, measure in measures.items() if args.what in (name, "all")}
    text = json.dumps(found, indent=2)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
