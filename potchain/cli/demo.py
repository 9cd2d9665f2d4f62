"""`potchain demo`: a whole network on this machine, from nothing to a checked result, in one command.

It makes a fresh folder, starts four validators as four processes, lets a separate client process submit signed
transfers over HTTP, waits until every node has them final, and compares the nodes. It uses the commands that anybody
would use; nothing here is known to the nodes.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from potchain.cli.load import LoadReport, clients_of
from potchain.cli.options import FOLDER, aligned, emit, json_option, table
from potchain.cli.program import EXIT_FAILED, EXIT_OK
from potchain.errors import ClientError, LedgerError
from potchain.event_loop import run_async

if TYPE_CHECKING:
    from potchain.cli.node_processes import NodeProcess
    from potchain.cli.testnet_folder import Endpoint, Network

BALANCE = 10**12
EXIT_TERMINATED = 128 + signal.SIGTERM
FOLDERS_MAX = 1_000


class NodeResult(msgspec.Struct, frozen=True, kw_only=True):
    """One node at the end."""

    name: str
    url: str
    height: int
    """The same for all: the highest that every node has certified."""
    block_hash: str
    state_root: str
    ledger_bytes: int
    """Size of the ledger file, write-ahead log included."""


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo prints."""

    folder: str
    load: LoadReport
    nodes: tuple[NodeResult, ...]
    roots_equal: bool
    faults: tuple[str, ...]


@click.command()
@click.option("--validators", default=4, show_default=True, type=click.IntRange(1, 100), help="Node processes.")
@click.option("--transactions", default=2_000, show_default=True, type=click.IntRange(1, 10_000_000), help="To submit.")
@click.option("--accounts", default=1_000, show_default=True, type=click.IntRange(1, 100_000), help="Funded accounts.")
@click.option("--keep", is_flag=True, help="Leave the network running at the end.")
@click.option("--dir", "folder", type=FOLDER, help="Fresh folder [default: demo-1, demo-2, ... here].")
@click.option("--base-port", default=8080, show_default=True, type=click.IntRange(1, 60_000),
              help="First port to try; the next free ones are taken.")
@json_option
def demo(validators: int, transactions: int, accounts: int, keep: bool, folder: Path | None, base_port: int,
         as_json: bool) -> int:
    """Start a network, submit signed transfers from a client process, check that all nodes agree, stop it.

    \b
    Example:
      potchain demo
      potchain demo --transactions 500 --keep
    """
    from potchain.cli.node_processes import free_base_port, start_nodes, stop_processes
    from potchain.cli.testnet_folder import create_network, local_hosts

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # so that the nodes are stopped then too
    chosen = folder or _fresh_folder(Path.cwd())
    port = free_base_port(base_port, validators)
    _say(f"making {chosen}: {validators} validators, {accounts} funded accounts, genesis")
    network = create_network(
        chosen, local_hosts(validators, port), chain_id="potchain-demo", accounts=accounts, balance=BALANCE
    )
    _say(f"starting {validators} node processes on ports from {port} on")
    processes = start_nodes(network)
    kept = False
    try:
        load, results = _drive(network, processes, transactions)
        kept = keep
    finally:
        faults = [] if kept else stop_processes(processes)
    sizes = {node.name: _ledger_bytes(node.home) for node in network.nodes}
    results = tuple(msgspec.structs.replace(result, ledger_bytes=sizes[result.name]) for result in results)
    equal = len({(result.block_hash, result.state_root) for result in results}) == 1
    if not equal:
        faults.append(f"the nodes differ at height {results[0].height}")
    report = DemoReport(
        folder=str(chosen), load=load, nodes=results, roots_equal=equal, faults=tuple(faults)
    )
    emit(msgspec.to_builtins(report), as_json, _lines(report))
    for fault in faults:
        click.echo(f"FAILED: {fault}", err=True)
    if kept:
        _say_kept(network)
    return EXIT_FAILED if faults else EXIT_OK


def _drive(
    network: Network, processes: Sequence[NodeProcess], transactions: int
) -> tuple[LoadReport, tuple[NodeResult, ...]]:
    from potchain.cli.node_processes import wait_ready

    run_async(wait_ready(processes))
    _say(f"all are ready; a client process signs {transactions} transfers and submits them over HTTP")
    command = [sys.executable, "-m", "potchain", "tx", "load", str(network.folder), "--json"]
    client = subprocess.run([*command, "--transactions", str(transactions)], stdout=subprocess.PIPE, check=False)
    for process in processes:
        if process.exit_code() is not None:
            raise LedgerError(process.fault())
    if client.returncode:
        raise ClientError(500, "load_failed", f"the client process ended with code {client.returncode}; see above")
    load = msgspec.json.decode(client.stdout, type=LoadReport)
    return load, run_async(_results(network.nodes))


async def _results(endpoints: Sequence[Endpoint]) -> tuple[NodeResult, ...]:
    async with clients_of(endpoints) as nodes:
        height = min([int((await node.status())["certified_height"]) for node in nodes])
        blocks = [await node.get(f"/v1/blocks/{height}") for node in nodes]
    return tuple(
        NodeResult(
            name=endpoint.name,
            url=endpoint.url,
            height=height,
            block_hash=str(block["hash"]),
            state_root=str(block["state_root"]),
            ledger_bytes=0,
        )
        for endpoint, block in zip(endpoints, blocks, strict=True)
    )


def _lines(report: DemoReport) -> list[str]:
    load = report.load
    summary = aligned(
        [
            ("transactions, final on every node", f"{load.transactions:,}"),
            ("blocks that hold them", f"{load.blocks:,}"),
            ("seconds", f"{load.seconds:.2f}"),
            ("transactions per second", f"{load.transactions_per_s:,.0f}"),
            ("latency submit to final, p50", f"{load.latency_p50_ms:.0f} ms"),
            ("latency submit to final, p99", f"{load.latency_p99_ms:.0f} ms"),
        ]
    )
    nodes = table(
        ["node", "height", "state root", "ledger file"],
        [[node.name, node.height, node.state_root, f"{node.ledger_bytes / 1e6:.1f} MB"] for node in report.nodes],
    )
    verdict = "state roots and block hashes are equal" if report.roots_equal else "STATE ROOTS OR BLOCK HASHES DIFFER"
    closing = f"{verdict} on {len(report.nodes)} nodes; their ledgers and logs are in {report.folder}"
    return ["", *summary, "", *nodes, "", closing]


def _say_kept(network: Network) -> None:
    for node in network.nodes:
        _say(f"{node.name} runs at {node.url}, log {node.log}")
    _say(f"look: potchain testnet status {network.folder}; stop it: potchain testnet stop {network.folder}")


def _ledger_bytes(home: Path) -> int:
    return sum(path.stat().st_size for path in home.glob("ledger.sqlite*"))


def _fresh_folder(parent: Path) -> Path:
    for number in range(1, FOLDERS_MAX + 1):
        folder = parent / f"demo-{number}"
        if not folder.exists():
            return folder.relative_to(parent)
    raise LedgerError(f"{FOLDERS_MAX} demo folders in {parent}; remove some, or choose one with --dir")


def _say(line: str) -> None:
    click.echo(line, err=True)
