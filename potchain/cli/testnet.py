"""`potchain testnet`: make the folder of a network, start its nodes on this machine, look after them, stop them."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from potchain.cli.options import AMOUNT, FILE, FOLDER, aligned, emit, json_option, table
from potchain.cli.program import EXIT_FAILED, EXIT_OK
from potchain.event_loop import run_async

if TYPE_CHECKING:
    from potchain.cli.node_processes import NodeProcess
    from potchain.cli.testnet_folder import Endpoint, Network
    from potchain.typed_data import JsonObject

WATCH_S = 0.5


@click.group()
def testnet() -> None:
    """Networks of several nodes: on one machine, or prepared for several.

    \b
    Example:
      potchain testnet init net --validators 4
      potchain testnet start net
    """


@testnet.command()
@click.argument("folder", type=FOLDER)
@click.option("--validators", type=click.IntRange(1, 1000), help="Validators on this machine [default: 4].")
@click.option("--hosts", type=FILE, help="Lines `name bind advertise transport_port api_port`, for several machines.")
@click.option("--chain-id", default="potchain-test", show_default=True, help="Name of the network.")
@click.option("--base-port", default=8080, show_default=True, type=click.IntRange(1, 64_000),
              help="Node i serves HTTP on this + i, and other nodes on this + 1000 + i.")
@click.option("--engine", default="pbft", show_default=True, help="Consensus engine.")
@click.option("--accounts", default=10, show_default=True, type=click.IntRange(0, 100_000), help="Funded accounts.")
@click.option("--balance", default=10**12, show_default=True, type=AMOUNT, help="Of each, in base units.")
@json_option
def init(folder: Path, validators: int | None, hosts: Path | None, chain_id: str, base_port: int, engine: str,
         accounts: int, balance: int, as_json: bool) -> None:
    """Make the folder of a network: genesis, a home folder per node, and funded accounts.

    \b
    Example:
      potchain testnet init net --validators 4 --accounts 100
      potchain testnet init net --hosts hosts.txt
    """
    from potchain.cli.testnet_folder import create_network, local_hosts, read_hosts
    from potchain.registry import load_plugins

    load_plugins().engine(engine)
    chosen = local_hosts(validators or 4, base_port) if hosts is None else read_hosts(hosts)
    if hosts is not None and validators not in (None, len(chosen)):
        raise click.UsageError(f"--validators {validators}, but {hosts} names {len(chosen)}; leave one of them out")
    network = create_network(
        folder, chosen, chain_id=chain_id, engine=engine, accounts=accounts, balance=balance
    )
    genesis = network.genesis()
    document = {
        "folder": str(folder),
        "chain_id": chain_id,
        "genesis_hash": "0x" + genesis.hash.hex(),
        "nodes": [{"name": node.name, "home": str(node.home), "url": node.url} for node in network.nodes],
        "accounts": accounts,
    }
    lines = aligned([("network", chain_id), ("genesis hash", document["genesis_hash"]), ("folder", folder)])
    lines += [f"{node.name}: {node.home}, {node.url}" for node in network.nodes]
    lines += fragility(len(chosen))
    if hosts is None:
        lines.append(f"start it with: potchain testnet start {folder}")
    else:
        lines.append("copy each node's folder to its machine and run there: potchain start --home FOLDER")
    emit(document, as_json, lines)


@testnet.command()
@click.argument("folder", type=FOLDER)
@json_option
def start(folder: Path, as_json: bool) -> int:
    """Start every node as a process of its own and stay in the foreground; Ctrl-C or SIGTERM stops all.

    \b
    Example:
      potchain testnet start net
    """
    from potchain.cli.testnet_folder import read_network

    return run_async(_run_foreground(read_network(folder), as_json))


async def _run_foreground(network: Network, as_json: bool) -> int:
    from potchain.cli.node_processes import start_nodes, stop_processes, wait_ready

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    processes = start_nodes(network)
    ended: list[str] = []
    try:
        ready = asyncio.ensure_future(wait_ready(processes))
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait((ready, stopped), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            ready.result()
            _announce(network, as_json)
            ended = await _watch(processes, stop)
        ready.cancel()
        stopped.cancel()
    finally:
        faults = stop_processes(processes)
    for fault in faults:
        click.echo(fault, err=True)
    return EXIT_FAILED if faults or ended else EXIT_OK


async def _watch(processes: list[NodeProcess], stop: asyncio.Event) -> list[str]:
    """Until told to stop, or until no node is left. A network outlives a faulty node, so one that ends is only told.

    Returns the names of nodes that ended with a fault.
    """
    told: dict[str, int] = {}
    while not stop.is_set() and len(told) < len(processes):
        for process in processes:
            name, code = process.endpoint.name, process.exit_code()
            if code is not None and name not in told:
                told[name] = code
                click.echo(process.fault() if code else f"{name} stopped", err=True)
        try:
            await asyncio.wait_for(stop.wait(), WATCH_S)
        except TimeoutError:
            continue
    return [name for name, code in told.items() if code]


def fragility(validators: int) -> list[str]:
    """A line of warning about a network that tolerates no fault."""
    from potchain.consensus.quorum import Quorum

    if Quorum(validators).faults_max:
        return []
    return [f"warning: with {validators} validator(s) no fault is tolerated; four are the least that tolerate one"]


def _announce(network: Network, as_json: bool) -> None:
    document = {"nodes": [{"name": node.name, "url": node.url, "log": str(node.log)} for node in network.nodes]}
    lines = [f"{node.name}  {node.url}  log {node.log}" for node in network.nodes]
    lines += fragility(len(network.nodes))
    emit(document, as_json, [*lines, "all nodes are ready; Ctrl-C stops them"])


@testnet.command()
@click.argument("folder", type=FOLDER)
@json_option
def status(folder: Path, as_json: bool) -> int:
    """Ask every node how it is; exit code 1 when one does not answer, or their blocks differ.

    \b
    Example:
      potchain testnet status net
    """
    from potchain.cli.testnet_folder import read_network

    answers = run_async(_ask_all(read_network(folder).nodes))
    rows: list[list[object]] = []
    for name, answer in answers:
        if answer is None:
            rows.append([name, "does not answer", "", "", "", ""])
        else:
            state = answer.get("stalled") or ("syncing" if answer.get("syncing") else "ok")
            root = str(answer.get("state_root", ""))[:18]
            rows.append([name, state, answer.get("height"), answer.get("certified_height"), root, _pool_count(answer)])
    emit(
        [{"name": name, "status": answer} for name, answer in answers],
        as_json,
        table(["node", "state", "height", "final", "state root", "pool"], rows),
    )
    return EXIT_OK if all(answer is not None and not answer.get("stalled") for _, answer in answers) else EXIT_FAILED


def _pool_count(answer: JsonObject) -> object:
    pool = answer.get("pool")
    return pool.get("count") if isinstance(pool, dict) else answer.get("pool_count", pool)


async def _ask_all(nodes: tuple[Endpoint, ...]) -> list[tuple[str, JsonObject | None]]:
    return list(zip([node.name for node in nodes], await asyncio.gather(*map(_ask, nodes)), strict=True))


async def _ask(node: Endpoint) -> JsonObject | None:
    from potchain.client import NodeClient
    from potchain.errors import ClientError

    async with NodeClient(node.url, token=node.token, attempts_max=1, timeout_s=5.0) as client:
        try:
            return await client.status()
        except ClientError:
            return None


@testnet.command()
@click.argument("folder", type=FOLDER)
@json_option
def stop(folder: Path, as_json: bool) -> int:
    """Stop the nodes of a folder, whichever terminal they were started from.

    \b
    Example:
      potchain testnet stop net
    """
    from potchain.cli.node_processes import stop_running

    stopped, killed = stop_running(folder)
    lines = [f"{name}: {'killed, it did not stop in time' if name in killed else 'stopped'}" for name in stopped]
    emit({"stopped": stopped, "killed": killed}, as_json, lines or ["no node of this folder runs"])
    return EXIT_FAILED if killed else EXIT_OK
