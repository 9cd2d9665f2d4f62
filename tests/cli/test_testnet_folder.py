"""What `potchain testnet init` makes, and what it refuses."""

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from potchain import cli
from potchain.cli.node_processes import RunningNode, free_base_port, running_nodes, stop_running
from potchain.cli.testnet_folder import create_network, local_hosts, read_hosts, read_network
from potchain.config import load_config
from potchain.errors import ConfigError
from potchain.keyfiles import load_account_key, load_validator_keys, member_of
from potchain.primitives import uint


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_makes_everything_that_four_nodes_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "net"
    options = ["--validators", "4", "--accounts", "3", "--balance", "500", "--base-port", "20000", "--chain-id", "c"]
    assert cli.main(["testnet", "init", str(folder), *options, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    network = read_network(folder)
    genesis = network.genesis()
    assert made["genesis_hash"] == "0x" + genesis.hash.hex()
    assert genesis.chain_id == "c"
    assert [node.url for node in network.nodes] == [f"http://127.0.0.1:{20_000 + index}" for index in range(4)]
    for node in network.nodes:
        member = member_of(genesis.first_epoch, load_validator_keys(node.home))
        assert member is not None
        assert member.name == node.name
        assert (node.home / "genesis.json").read_bytes() == (folder / "genesis.json").read_bytes()
        assert len(load_config(node.home, {}).peers) == 3
        assert mode(node.home / "potchain.toml") == 0o600
    assert mode(folder / "accounts" / "password.txt") == 0o600
    funded = {account.address: uint(account.balance) for account in genesis.accounts}
    for file in network.account_files():
        assert funded[load_account_key(file, network.account_password()).address] == 500
    password = (folder / "operators" / "password.txt").read_text().strip()
    for validator in genesis.validators:
        assert load_account_key(folder / "operators" / f"{validator.name}.json", password).address == validator.operator


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").write_text("x")
    assert cli.main(["testnet", "init", str(tmp_path), "--accounts", "0"]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_an_unknown_engine_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["testnet", "init", str(tmp_path / "net"), "--engine", "pbtf"]) == 2
    assert "did you mean 'pbft'" in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


def test_several_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("# name bind advertise transport api\nalice 0.0.0.0 alice.example.org 9080 8080\n"
                     "bob 0.0.0.0 10.0.0.2 9080 8080  # the second\n")
    folder = tmp_path / "net"
    assert cli.main(["testnet", "init", str(folder), "--hosts", str(hosts), "--accounts", "0"]) == 0
    assert "potchain start --home" in capsys.readouterr().out
    alice = load_config(folder / "alice", {})
    assert (alice.transport.listen_host, alice.transport.listen_port) == ("0.0.0.0", 9080)
    assert [(peer.name, peer.host, peer.port) for peer in alice.peers] == [("bob", "10.0.0.2", 9080)]
    assert alice.api.token == (folder / "api-token.txt").read_text().strip()
    assert mode(folder / "api-token.txt") == 0o600
    assert cli.main(["testnet", "init", str(tmp_path / "x"), "--hosts", str(hosts), "--validators", "4"]) == 2
    assert "names 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no host"),
        ("a 0.0.0.0 a.org 9080\n", "hosts.txt:1: a line is"),
        ("\na 0.0.0.0 a.org x 8080\n", "hosts.txt:2: a line is"),
        ("a/b 0.0.0.0 a.org 9080 8080\n", "letters, digits"),
        ("a 0.0.0.0 a.org 9080 8080\na 0.0.0.0 b.org 9080 8080\n", "stands twice"),
        ("a 0.0.0.0 a.org 9080 8080\nb 0.0.0.0 a.org 9080 8081\n", "stands twice"),
    ],
)
def test_a_bad_hosts_file_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "hosts.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_hosts(path)


def test_ports_must_fit() -> None:
    with pytest.raises(ConfigError, match="do not fit"):
        local_hosts(4, 64_999)
    assert [host.api_port for host in local_hosts(2, 30_000)] == [30_000, 30_001]


def test_busy_ports_are_passed_over() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = min(busy.getsockname()[1], 62_000)
        found = free_base_port(port, 1)
        assert found >= port
        assert found != busy.getsockname()[1]


def test_a_reused_process_id_is_not_taken_for_a_node(tmp_path: Path) -> None:
    network = create_network(tmp_path / "net", local_hosts(1, 20_000), chain_id="t", accounts=0)
    home = str(network.nodes[0].home)
    mine = RunningNode(name="node0", home=home, pid=os.getpid())
    (tmp_path / "net" / "running.json").write_bytes(msgspec.json.encode([mine]))
    assert running_nodes(tmp_path / "net") == []
    assert stop_running(tmp_path / "net") == ([], [])


def test_a_node_started_elsewhere_is_stopped(tmp_path: Path) -> None:
    home = str(tmp_path / "node0")
    command = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()", "--home", home]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        entry = RunningNode(name="node0", home=home, pid=process.pid)
        (tmp_path / "running.json").write_bytes(msgspec.json.encode([entry]))
        assert [node.name for node in running_nodes(tmp_path)] == ["node0"]
        assert stop_running(tmp_path) == (["node0"], [])
    assert process.returncode == -15
    assert running_nodes(tmp_path) == []


def test_a_damaged_list_of_processes_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "running.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        running_nodes(tmp_path)


def test_a_network_that_tolerates_no_fault_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for validators in (3, 4):
        folder = str(tmp_path / str(validators))
        options = ["--validators", str(validators), "--accounts", "0", "--base-port", "20000"]
        assert cli.main(["testnet", "init", folder, *options]) == 0
        assert ("no fault is tolerated" in capsys.readouterr().out) == (validators < 4)
