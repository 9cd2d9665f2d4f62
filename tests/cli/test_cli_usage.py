"""What every command promises: help with an example, --json, one-line errors, documented exit codes, a quick start."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from potchain import cli
from potchain.cli.program import EXIT_CODES, exit_code_of, potchain
from potchain.cli.testnet_folder import create_network, local_hosts
from potchain.errors import (
    ClientError,
    ConfigError,
    GenesisError,
    InvalidProof,
    KeyFileError,
    LedgerCorrupt,
    LedgerError,
    PluginError,
    SettlementError,
)

NOBODY = "http://127.0.0.1:9"


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from walk(inner, (*path, name))


COMMANDS = list(walk(potchain))
LEAVES = [(path, command) for path, command in COMMANDS if not isinstance(command, click.Group)]


def joined(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else ""


def test_the_commands_of_the_issue_exist() -> None:
    paths = {" ".join(path) for path, _ in LEAVES}
    assert paths >= {
        "testnet init", "testnet start", "testnet status", "testnet stop", "start", "status", "account new",
        "account show", "account balance", "block", "tx transfer", "tx show", "tx sign", "tx submit", "ledger verify",
        "verify proof", "verify evidence", "evidence list", "evidence get", "demo", "plugin list", "config show",
        "settle status", "settle explain", "settle payouts", "settle claim-proof", "gov list", "gov vote",
        "gov propose bind-contract", "gov propose set-parameter", "gov propose rotate-owners", "gov propose pause",
        "gov propose unpause", "tx withdraw",
    }  # fmt: skip


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=joined)
def test_help_has_an_example(path: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(potchain, [*path, "--help"])
    assert result.exit_code == 0
    assert "Example:\n" in result.output
    assert f"potchain {' '.join(path)}".strip() in result.output.split("Example:")[1]


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=joined)
def test_every_command_has_json_and_says_what_its_options_do(path: tuple[str, ...], command: click.Command) -> None:
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert "--json" in {name for option in options for name in option.opts}
    assert all(option.help for option in options)


def test_help_lists_the_exit_codes() -> None:
    output = CliRunner().invoke(potchain, ["--help"]).output
    assert "Exit codes:" in output
    assert all(f"  {code} " in output for code in EXIT_CODES)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (ConfigError("x"), 2),
        (GenesisError("x", ["y"]), 2),
        (KeyFileError("x"), 2),
        (PluginError("x"), 2),
        (ClientError(0, "unreachable", "x"), 3),
        (ClientError(422, "bad_signature", "x"), 4),
        (ClientError(503, "pool_full", "x"), 4),
        (ClientError(504, "timeout", "x"), 5),
        (InvalidProof("x"), 1),
        (LedgerCorrupt(3, "x"), 1),
        (LedgerError("x"), 6),
        (SettlementError("unreachable", "x"), 3),
        (SettlementError("not_mined", "x"), 5),
        (SettlementError("wrong_chain", "x"), 2),
        (SettlementError("wrong_contract", "x"), 1),
        (SettlementError("would_revert", "x"), 4),
        (SettlementError("empty_wallet", "x"), 4),
    ],
)
def test_errors_have_documented_exit_codes(fault: Exception, code: int) -> None:
    assert exit_code_of(fault) == code  # type: ignore[arg-type]
    assert code in EXIT_CODES


def test_an_unreachable_node_is_one_line_and_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--url", NOBODY]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"potchain: no node answers at {NOBODY}")
    assert captured.err.count("\n") == 1


def test_an_unknown_command_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["statsu"]) == 2
    assert "No such command" in capsys.readouterr().err


def test_a_folder_that_is_no_network_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["testnet", "start", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_wrong_values_name_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["account", "balance", "0x123"]) == 2
    assert "0x123" in capsys.readouterr().err
    assert cli.main(["tx", "show", "0x12"]) == 2
    assert "64 hex digits" in capsys.readouterr().err
    assert cli.main(["block", "seven"]) == 2
    assert "'seven'" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["account", "new", str(tmp_path / "nowhere" / "a.json"), "--password-file", __file__]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_plugin_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugin", "list", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert listed["pbft"]["distribution"] == "potchain"
    assert listed["pbft"]["offers"]


def test_it_refuses_to_run_without_assertions() -> None:
    command = [sys.executable, "-O", "-m", "potchain", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "python -O" in run.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom potchain.cli import main\nmain(['--help'])\n"
        "print([name for name in ('aiohttp', 'sqlalchemy', 'rich', 'eth_keyfile') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_a_file_that_is_no_evidence_is_named(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"{}")
    create_network(tmp_path / "net", local_hosts(1, 20_000), chain_id="usage", accounts=0)
    genesis = str(tmp_path / "net" / "genesis.json")
    refused = CliRunner().invoke(potchain, ["verify", "evidence", str(rubbish), "--genesis", genesis])
    assert refused.exit_code != 0
    assert f"{rubbish} is no evidence" in refused.output + str(refused.exception)
