"""Starts the nodes of a folder as separate processes, watches them and stops them.

Each node runs `python -m potchain start` in a session of its own, so that Ctrl-C reaches the one who started it and not
the nodes; what they print goes straight into their node.log. The file running.json says which processes belong to the
folder. A process id is trusted only while its command line names the node's home folder, since ids are used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from potchain.cli.testnet_folder import TRANSPORT_PORT_OFFSET, Endpoint, Network
from potchain.errors import ConfigError, LedgerError

RUNNING_FILE = "running.json"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
"""After SIGTERM; a node that takes longer is killed, and said to have been."""
LOG_LINES_SHOWN = 15
POLL_S = 0.1


class RunningNode(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of running.json."""

    name: str
    home: str
    pid: int


class NodeProcess:
    """A node that this process started."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        with endpoint.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "potchain", "start", "--home", str(endpoint.home.absolute())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    def fault(self) -> str:
        """What to tell people when it has ended by itself."""
        return f"{self.endpoint.name} ended with code {self.exit_code()}; {_log_tail(self.endpoint.log)}"


def start_nodes(network: Network) -> list[NodeProcess]:
    """Start every node of the folder. Raises ConfigError when one runs already."""
    running = running_nodes(network.folder)
    if running:
        names = ", ".join(node.name for node in running)
        raise ConfigError(f"{names} of {network.folder} run already; stop them: potchain testnet stop {network.folder}")
    processes = [NodeProcess(endpoint) for endpoint in network.nodes]
    entries = [
        RunningNode(name=process.endpoint.name, home=str(process.endpoint.home.absolute()), pid=process.process.pid)
        for process in processes
    ]
    (network.folder / RUNNING_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(entries), indent=2) + b"\n")
    return processes


async def wait_ready(processes: Sequence[NodeProcess], timeout_s: float = READY_TIMEOUT_S) -> None:
    """Until every node is ready. Raises LedgerError when one ends, or the time is over."""
    from potchain.client import NodeClient

    deadline = time.monotonic() + timeout_s
    waiting = list(processes)
    while waiting:
        for process in list(waiting):
            if process.exit_code() is not None:
                raise LedgerError(process.fault())
            async with NodeClient(process.endpoint.url, attempts_max=1) as client:
                if await client.is_ready():
                    waiting.remove(process)
        if waiting and time.monotonic() > deadline:
            first = waiting[0].endpoint
            raise LedgerError(f"{first.name} is not ready after {timeout_s:g} s; {_log_tail(first.log)}")
        await asyncio.sleep(POLL_S)


def stop_processes(processes: Sequence[NodeProcess], timeout_s: float = STOP_TIMEOUT_S) -> list[str]:
    """SIGTERM to those that run, then wait. What did not go well, in words: killed, or another exit code than 0."""
    running = [process for process in processes if process.exit_code() is None]
    for process in running:
        process.process.terminate()
    deadline = time.monotonic() + timeout_s
    faults = []
    for process in running:
        try:
            code = process.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.process.kill()
            process.process.wait()
            faults.append(f"{process.endpoint.name} did not stop within {timeout_s:g} s and was killed")
            continue
        if code != 0:
            faults.append(process.fault())
    if processes:
        (processes[0].endpoint.home.parent / RUNNING_FILE).unlink(missing_ok=True)
    return faults


def running_nodes(folder: Path) -> list[RunningNode]:
    """Nodes of the folder that run now, whoever started them with `start_nodes`."""
    try:
        entries = msgspec.json.decode((folder / RUNNING_FILE).read_bytes(), type=list[RunningNode])
    except FileNotFoundError:
        return []
    except msgspec.DecodeError as fault:
        path = folder / RUNNING_FILE
        raise ConfigError(f"{path} is damaged ({fault}); end the nodes by hand and remove it") from None
    return [entry for entry in entries if _is_running(entry)]


def stop_running(folder: Path, timeout_s: float = STOP_TIMEOUT_S) -> tuple[list[str], list[str]]:
    """Stop nodes that another process started: (names that were stopped, names that had to be killed)."""
    nodes = running_nodes(folder)
    for node in nodes:
        _signal(node, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    left = list(nodes)
    while left and time.monotonic() < deadline:
        time.sleep(POLL_S)
        left = [node for node in left if _is_running(node)]
    for node in left:
        _signal(node, signal.SIGKILL)
    (folder / RUNNING_FILE).unlink(missing_ok=True)
    return [node.name for node in nodes], [node.name for node in left]


def free_base_port(wanted: int, validators: int) -> int:
    """The first base port from `wanted` on, in steps of ten, where all ports of a network are free on this machine."""
    for base in range(wanted, min(wanted + 1_000, 64_000 - validators), 10):
        if all(
            _is_free(port)
            for index in range(validators)
            for port in (base + index, base + TRANSPORT_PORT_OFFSET + index)
        ):
            return base
    raise ConfigError(f"no {2 * validators} free ports from {wanted} on; choose others with --base-port")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_running(node: RunningNode) -> bool:
    try:
        command = Path(f"/proc/{node.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        if Path("/proc/self").exists():
            return False
        asked = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(node.pid)], capture_output=True, check=False)
        command = asked.stdout.decode(errors="replace")
    return node.home in command


def _signal(node: RunningNode, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(node.pid, number)


def _log_tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    return f"the end of {log}:\n  " + "\n  ".join(lines or ["(empty)"])
