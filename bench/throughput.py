"""Throughput and latency of four validators and their client on one machine, beside the machine's own limits.

    python bench/throughput.py --seconds 60 --accounts 10000             # as fast as it goes
    python bench/throughput.py --seconds 30 --rate 500 --batch 10        # latency at a fixed rate
    python bench/throughput.py --seconds 60 --out bench/results/full.json

Real processes, real TLS, SQLite with synchronous=FULL. Transfers are signed and encoded beforehand; the client then
only posts bytes, round-robin over the nodes (a sender keeps to one node), and follows certified blocks. Linux only: it
reads
CPU and memory of the nodes from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from potchain.cli.node_processes import free_base_port, start_nodes, stop_processes, wait_ready
from potchain.cli.testnet_folder import Network, create_network, local_hosts
from potchain.crypto import SigningKey, recover_address
from potchain.genesis import Genesis, InitialBalance, Parameters
from potchain.primitives import uint256
from potchain.transactions import TransactionTypes, Transfer
from potchain.typed_data import struct_to_json

SENDERS = 1_000
BALANCE = 10**15
TICKS = os.sysconf("SC_CLK_TCK")


def limits(folder: Path, seconds: float = 1.5) -> dict[str, float]:
    """Signature recoveries per second on one and on all cores, and durable SQLite commits per second."""
    import multiprocessing

    key = SigningKey.generate()
    digest = secrets.token_bytes(32)
    entry = (digest, key.sign_digest(digest))
    cores = os.cpu_count() or 1
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(_recoveries, [(*entry, 0.05)] * cores)
        one = pool.map(_recoveries, [(*entry, seconds)])[0]
        both = sum(pool.map(_recoveries, [(*entry, seconds)] * cores, chunksize=1))
    path = folder / "fsync.sqlite"
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE t (x BLOB)")
    began, commits = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        database.execute("INSERT INTO t VALUES (?)", (digest,))
        commits += 1
    database.close()
    return {
        "recoveries_per_s_one_core": round(one),
        "recoveries_per_s_all_cores": round(both),
        "durable_commits_per_s": round(commits / seconds),
    }


def _recoveries(task: tuple[bytes, bytes, float]) -> float:
    digest, signature, seconds = task
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(100):
            recover_address(digest, signature)
        count += 100
    return count / (time.perf_counter() - began)


def make_network(
    folder: Path, accounts: int, parameters: dict[str, int]
) -> tuple[Network, list[SigningKey], Genesis]:
    """Four validators; `accounts` funded addresses, of which the first SENDERS have keys here."""
    keys = [SigningKey(secrets.token_bytes(32)) for _ in range(min(SENDERS, accounts))]
    addresses = [key.address for key in keys]
    addresses += [secrets.token_bytes(20) for _ in range(accounts - len(keys))]
    network = create_network(
        folder,
        local_hosts(4, free_base_port(18080, 4)),
        chain_id="potchain-bench",
        accounts=0,
        funded=[InitialBalance(address, uint256(BALANCE)) for address in addresses],
        parameters=Parameters(**parameters),
    )
    return network, keys, network.genesis()


def prepare(
    keys: list[SigningKey], genesis: Genesis, count: int, batch: int, lanes: int
) -> list[list[tuple[bytes, list[str]]]]:
    """Request bodies per lane, each with the ids in it. A sender stays in one lane, nonces ascending."""
    types = TransactionTypes([Transfer], genesis.hash)
    receivers = [account.address for account in genesis.accounts]
    lane_keys = [keys[lane::lanes] for lane in range(lanes)]
    nonces = dict.fromkeys((key.address for key in keys), 0)
    prepared: list[list[tuple[bytes, list[str]]]] = [[] for _ in range(lanes)]
    at = [0] * lanes
    for number in range(-(-count // batch)):
        lane = number % lanes
        documents, ids = [], []
        for _ in range(batch):
            key = lane_keys[lane][at[lane] % len(lane_keys[lane])]
            at[lane] += 1
            receiver = receivers[(number * 7919 + at[lane] * 104729) % len(receivers)]
            body = Transfer(
                key.address, nonces[key.address], uint256(10), 0, receiver, uint256(1), b""
            )
            nonces[key.address] += 1
            transaction = types.sign(body, key)
            documents.append(
                {"kind": "Transfer", "message": struct_to_json(body), "signature": "0x" + transaction.signature.hex()}
            )
            ids.append("0x" + transaction.id.hex())
        prepared[lane].append((msgspec.json.encode(documents), ids))
    return prepared


class Client:
    """Posts prepared bodies, at a rate or with a bounded number outstanding, and follows one node's final blocks."""

    def __init__(self, urls: list[str], prepared: list[list[tuple[bytes, list[str]]]], outstanding: int) -> None:
        self.urls = urls
        self.queues = [deque(lane) for lane in prepared]
        self.sent: dict[str, float] = {}
        self.final: dict[str, float] = {}
        self.refused: dict[str, int] = {}
        self.blocks: list[tuple[int, int, float]] = []
        self.room = asyncio.Semaphore(outstanding)
        self.stopped = False

    async def post(self, session: aiohttp.ClientSession, lane: int) -> bool:
        """Send one body of a lane; False when there is none left."""
        if not self.queues[lane]:
            return False
        body, ids = self.queues[lane].popleft()
        now = time.perf_counter()
        for transaction_id in ids:
            self.sent[transaction_id] = now
        headers = {"Content-Type": "application/json"}
        async with session.post(self.urls[lane] + "/v1/transactions", data=body, headers=headers) as response:
            text = await response.read()
        if text.count(b'"accepted"') != len(ids):
            answer = json.loads(text)
            outcomes = answer if isinstance(answer, list) else answer.get("results", [answer])
            for outcome in outcomes:
                if outcome.get("status") == "refused" or outcome.get("code"):
                    self.refused[outcome["code"]] = self.refused.get(outcome["code"], 0) + 1
                    self.sent.pop(outcome.get("id", ""), None)
        return True

    async def saturate(self, session: aiohttp.ClientSession, lane: int, batch: int, until: float) -> None:
        """Keep the lane busy while transactions may be outstanding."""
        while time.perf_counter() < until and self.queues[lane]:
            for _ in range(batch):
                await self.room.acquire()
            await self.post(session, lane)

    async def pace(self, session: aiohttp.ClientSession, rate: int, batch: int, until: float) -> None:
        """Send one body every batch/rate seconds, the lanes in turn, never waiting for answers."""
        due, lane, tasks = time.perf_counter(), 0, set()
        while due < until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self.post(session, lane))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            lane = (lane + 1) % len(self.urls)
            due += batch / rate
        await asyncio.gather(*tasks)

    async def follow(self, session: aiohttp.ClientSession) -> None:
        """Note when each transaction is final at the first node."""
        height = 0
        while not self.stopped:
            url = f"{self.urls[0]}/v1/blocks?after={height}&wait=2&ids=true&certified=true&limit=100"
            async with session.get(url) as response:
                answer = await response.json()
            now = time.perf_counter()
            for block in answer["blocks"]:
                height = int(block["height"])
                ids = block["transaction_ids"]
                self.blocks.append((height, len(ids), now))
                for transaction_id in ids:
                    self.final[transaction_id] = now
                    self.room.release()


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="potchain-bench-", dir=args.folder))
    machine = limits(folder)
    print("machine:", machine, flush=True)
    network, keys, genesis = make_network(folder / "net", args.accounts, dict(args.parameter))
    count = int(args.seconds * (args.rate or args.most) * 1.05) + args.batch * 4
    began = time.perf_counter()
    prepared = prepare(keys, genesis, count, args.batch, len(network.nodes) - args.dead)
    print(f"signed {count} transfers in {time.perf_counter() - began:.1f} s", flush=True)
    processes = start_nodes(network)
    try:
        await wait_ready(processes)
        for process in processes[: args.dead]:  # the first primaries: the measured ones have changed views
            process.process.kill()
            process.process.wait()
        alive = processes[args.dead :]
        pids = [process.process.pid for process in alive]
        if args.pin:
            pin(pids)
        urls = [node.url for node in network.nodes[args.dead :]]
        client = Client(urls, prepared, args.outstanding)
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            follower = asyncio.create_task(client.follow(session))
            before = await snapshot(session, urls, pids)
            client_cpu = time.process_time()
            start = time.perf_counter()
            until = start + args.seconds
            if args.rate:
                await client.pace(session, args.rate, args.batch, until)
            else:
                lanes = range(len(urls))
                await asyncio.gather(
                    *(client.saturate(session, lane, args.batch, until) for lane in lanes for _ in range(args.parallel))
                )
            submitted = time.perf_counter()
            while len(client.final) < len(client.sent) and time.perf_counter() < submitted + 60:
                await asyncio.sleep(0.05)
            last_final = max(client.final.values())
            client_cpu = time.process_time() - client_cpu
            after = await snapshot(session, urls, pids)
            caught_up = await history_caught_up(session, urls)
            status = [await (await session.get(url + "/v1/status")).json() for url in urls]
            client.stopped = True
            await follower
        result = report(args, machine, client, before, after, start, last_final, client_cpu)
        result["history_caught_up_s"] = round(caught_up - last_final, 2)
        result["state_roots_equal"] = len({entry["state_root"] for entry in status}) == 1
        result["resident_mb_at_end"] = [round(sum(resident(pid) for pid in family(pid)) / 2**20) for pid in pids]
        result["resident_mb_node_process"] = [round(resident(pid) / 2**20) for pid in pids]
    finally:
        stop_processes(processes)
    if args.restart:
        result["restart"] = await restart(network)
    if args.keep:
        print("kept", folder)
    else:
        shutil.rmtree(folder)
    return result


def report(
    args: argparse.Namespace,
    machine: dict[str, float],
    client: Client,
    before: dict[str, Any],
    after: dict[str, Any],
    start: float,
    last_final: float,
    client_cpu: float,
) -> dict[str, Any]:
    done = len(client.final)
    seconds = last_final - start
    latencies = sorted(client.final[each] - client.sent[each] for each in client.final if each in client.sent)
    nodes = len(before["cpu"])
    stages = {
        stage: round(sum(after["stages"][n].get(stage, 0) - before["stages"][n].get(stage, 0) for n in range(nodes))
                     / nodes / done * 1e6, 1)
        for stage in sorted({name for each in after["stages"] for name in each})
    }
    workers = sum(after["workers"][n] - before["workers"][n] for n in range(nodes)) / nodes / done * 1e6
    cpu = sum(after["cpu"][n] - before["cpu"][n] for n in range(nodes)) / nodes / done * 1e6
    bound = machine["recoveries_per_s_all_cores"] / nodes
    return {
        "accounts": args.accounts,
        "rate_per_s": args.rate or None,
        "batch": args.batch,
        "pinned": args.pin,
        "nodes_dead": args.dead,
        "parameters_changed": dict(args.parameter),
        "outstanding_max": None if args.rate else args.outstanding,
        "transactions": done,
        "not_final": len(client.sent) - done,
        "refused": client.refused,
        "blocks": sum(1 for _, size, _ in client.blocks if size),
        "seconds": round(seconds, 2),
        "transactions_per_s": round(done / seconds),
        "latency_p50_ms": round(latencies[len(latencies) // 2] * 1e3, 1),
        "latency_p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1e3, 1),
        "machine": machine,
        "signature_bound_per_s": round(bound),
        "ratio_to_signature_bound": round(done / seconds / bound, 3),
        "cpu_us_per_tx_per_validator": round(cpu, 1),
        "cpu_ms_per_block_per_validator": round(cpu * done / max(1, len(client.blocks)) / 1e3, 2),
        "cpu_us_by_stage": {"signature workers": round(workers, 1), **stages},
        "cpu_us_per_tx_client": round(client_cpu / done * 1e6, 1),
    }


async def snapshot(session: aiohttp.ClientSession, urls: list[str], pids: list[int]) -> dict[str, Any]:
    """CPU seconds of each node: whole family, workers, and by thread."""
    stages = []
    for url in urls:
        async with session.get(url + "/metrics") as response:
            text = await response.text()
        stages.append(
            {name: float(value) for name, value in
             re.findall(r'potchain_thread_cpu_seconds_total\{thread="([^"]+)"\} (\S+)', text)}
        )
    return {
        "stages": stages,
        "cpu": [sum(cpu_seconds(pid) for pid in family(pid)) for pid in pids],
        "workers": [sum(cpu_seconds(child) for child in family(pid) if child != pid) for pid in pids],
    }


async def history_caught_up(session: aiohttp.ClientSession, urls: list[str]) -> float:
    """When history rows are complete on every node."""
    while True:
        statuses = [await (await session.get(url + "/v1/status")).json() for url in urls]
        if all(status["history_height"] >= status["height"] for status in statuses):
            return time.perf_counter()
        await asyncio.sleep(0.1)


async def restart(network: Network) -> dict[str, Any]:
    """Seconds from starting a node on this ledger to being ready."""
    from potchain.cli.node_processes import NodeProcess

    began = time.perf_counter()
    process = NodeProcess(network.nodes[0])
    log = network.nodes[0].log
    try:
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(network.nodes[0].url + "/healthz") as response:
                        if response.status == 200:
                            break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.02)
        seconds = time.perf_counter() - began
        lines = [json.loads(line) for line in log.read_text().splitlines() if "ledger checked" in line]
        return {"seconds_until_healthy": round(seconds, 2), "seconds_of_ledger_check": lines[-1]["seconds"]}
    finally:
        stop_processes([process])


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def pin(pids: list[int]) -> None:
    """One core for each node and all its threads and workers, the cores in turn."""
    cores = sorted(os.sched_getaffinity(0))
    for number, pid in enumerate(pids):
        for member in family(pid):
            for task in Path(f"/proc/{member}/task").iterdir():
                os.sched_setaffinity(int(task.name), {cores[number % len(cores)]})


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="length of the load")
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=0, help="transactions per second; 0 for as fast as it goes")
    parser.add_argument("--batch", type=int, default=200, help="transactions in one request")
    parser.add_argument("--outstanding", type=int, default=4_000, help="transactions sent and not final, at most")
    parser.add_argument("--parallel", type=int, default=2, help="requests under way per node")
    parser.add_argument("--most", type=int, default=6_000, help="transfers to sign per second of load")
    parser.add_argument("--dead", type=int, default=0, help="nodes to kill before the load; the first ones, primaries")
    parser.add_argument("--restart", action="store_true", help="measure the restart of a node afterwards")
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a consensus parameter of genesis",
        type=lambda text: (text.partition("=")[0], int(text.partition("=")[2])),
    )
    parser.add_argument("--folder", default=None, help="where to put the network")
    parser.add_argument("--pin", action="store_true", help="give each node one core")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    result = asyncio.run(measure(args))
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
