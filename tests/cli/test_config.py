"""The configuration: three sources, one order, and no silent mistake."""

import ast
import inspect
import json
from pathlib import Path

import msgspec
import pytest

from potchain import cli
from potchain.cli.testnet_folder import create_network, local_hosts
from potchain.config import PeerDirectory, load_config, sections
from potchain.errors import ConfigError
from potchain.genesis import Epoch
from potchain.genesis_file import parse_genesis
from potchain.keyfiles import create_validator_keys, load_validator_keys
from potchain.pool.interface import PoolLimits


def home(folder: Path, text: str) -> Path:
    (folder / "potchain.toml").write_text(text, encoding="utf-8")
    return folder


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    config = load_config(home(tmp_path, ""), {})
    assert config.consensus.engine == "pbft"
    assert config.transport.name == "tcp"
    assert config.application.enabled == ("accounts", "governance", "settlement")
    assert config.pool == PoolLimits()
    assert config.genesis_path == tmp_path / "genesis.json"
    assert config.ledger_url == f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    assert config.votes_url == f"sqlite:///{tmp_path / 'votes.sqlite'}"
    assert {setting.source for setting in config.settings} == {"default"}


def test_environment_over_file_over_default(tmp_path: Path) -> None:
    text = '[api]\nport = 8001\nhost = "127.0.0.2"\n'
    config = load_config(home(tmp_path, text), {"POTCHAIN_API_PORT": "8002", "PATH": "/bin"})
    assert (config.api.port, config.api.host) == (8002, "127.0.0.2")
    sources = {setting.key: setting.source for setting in config.settings}
    assert sources["api.port"] == "POTCHAIN_API_PORT"
    assert sources["api.host"] == "potchain.toml"
    assert sources["api.token"] == "default"


def test_variables_take_the_type_of_their_setting(tmp_path: Path) -> None:
    environment = {
        "POTCHAIN_NODE_NAME": "17",
        "POTCHAIN_APPLICATION_ENABLED": "accounts, market",
        "POTCHAIN_LEDGER_START_CHECK": "tip",
        "POTCHAIN_CONSENSUS_PBFT_MODE": '"quick"',
        "POTCHAIN_CONSENSUS_PBFT_SLOTS_MAX": "7",
        "POTCHAIN_KEY_PASSWORD": "not a setting",
    }
    config = load_config(home(tmp_path, ""), environment)
    assert config.node.name == "17"
    assert config.application.enabled == ("accounts", "market")
    assert config.ledger.start_check == "tip"
    assert config.options_table("consensus", "pbft") == {"mode": "quick", "slots_max": 7}
    assert config.options_table("transport", "tcp") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[consenus]\n", r"no section 'consenus' \(did you mean 'consensus'\?\)"),
        ('[consensus]\nengin = "pbft"\n', r"consensus has no key 'engin' \(did you mean 'engine'\?\)"),
        ("[pool]\ncount_mx = 5\n", r"pool has no key 'count_mx' \(did you mean 'count_max'\?\)"),
        ('[api]\nport = "80"\n', r"api\.port: Expected `int`, got `str`"),
        ("[api]\nport = 70000\n", r"api\.port: Expected `int` <= 65535"),
        ("[pool]\ncount_max = -1\n", r"pool\.count_max: Expected `int` >= 1"),
        ('[ledger]\nstart_check = "none"\n', r"ledger\.start_check: Invalid enum value 'none'"),
        ("[consensus.pbtf]\nx = 1\n", r"\[consensus\.pbtf\] belongs to nothing.*consensus\.engine is 'pbft'; write"),
        (
            '[settlement]\nbackend = "multisigg"\n[settlement.multisig]\nagreement = 2\n',
            r"^\[settlement\.multisig\] belongs to nothing that is chosen: settlement\.backend is 'multisigg'; write "
            r"the same name in both places, or leave the table out$",
        ),
        (
            "[application]\nenabled = []\n[application.market]\nx = 1\n",
            r"\[application\.market\] belongs to nothing that is chosen: application\.enabled is empty; write",
        ),
        ('[[peers]]\nname = "a"\nhost = "b"\n', r"peers\[0\]: Object missing required field `port`"),
        ('[peers]\nname = "a"\n', r"peers must be a list"),
        ("node = 3\n", r"\[node\] must be a table"),
        ("= 3", r"is not TOML"),
        ("[api]\nport = 9000\n[transport]\nlisten_port = 9000\n", r"both 9000"),
        ('[ledger]\nurl = "sqlite:///x"\nvotes_url = "sqlite:///x"\n', r"must be separate"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(home(tmp_path, text), {})


def test_a_wrong_variable_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"POTCHAIN_API_PROT names no setting \(did you mean 'POTCHAIN_API_PORT'"):
        load_config(home(tmp_path, ""), {"POTCHAIN_API_PROT": "1"})


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="potchain testnet init"):
        load_config(tmp_path, {})


def test_secrets_are_masked(tmp_path: Path) -> None:
    text = '[api]\ntoken = "hush"\n[ledger]\nurl = "postgresql+psycopg://me:hush@host/db"\n'
    config = load_config(home(tmp_path, text), {})
    assert "hush" not in repr(config.settings)
    assert config.api.token == "hush"


def test_every_setting_is_documented() -> None:
    for kind in (*sections.SECTIONS.values(), sections.PeerSection):
        (definition,) = ast.parse(inspect.getsource(kind)).body
        assert isinstance(definition, ast.ClassDef)
        body = definition.body
        for place, node in enumerate(body):
            if isinstance(node, ast.AnnAssign):
                following = body[place + 1] if place + 1 < len(body) else None
                documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                assert documented, f"{kind.__name__}.{ast.unparse(node.target)} has no docstring"


def test_settings_have_defaults_of_their_own_type() -> None:
    for kind in sections.SECTIONS.values():
        assert msgspec.convert(msgspec.to_builtins(kind()), kind) == kind()


def test_peers_get_their_keys_from_genesis(tmp_path: Path) -> None:
    network = create_network(tmp_path / "net", local_hosts(4, 20_000), chain_id="t", accounts=0)
    node = network.nodes[0]
    config = load_config(node.home, {})
    genesis = parse_genesis(config.genesis_path.read_bytes(), "genesis.json")
    keys = load_validator_keys(node.home)
    epochs = (genesis.first_epoch,)
    peers = PeerDirectory(config, genesis, epochs, keys.node_id, keys.node_public).peers(epochs)
    assert [peer.name for peer in peers] == ["node1", "node2", "node3"]
    assert peers[0].node_key == genesis.validators[1].node_key
    assert [peer.port for peer in peers] == [21_001, 21_002, 21_003]
    text = (node.home / "potchain.toml").read_text(encoding="utf-8")
    (node.home / "potchain.toml").write_text(text.replace('"node2"', '"nod2"'), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'nod2' is no validator of genesis \(did you mean 'node2'"):
        PeerDirectory(load_config(node.home, {}), genesis, epochs, keys.node_id, keys.node_public)


def test_validators_of_the_near_epochs_may_connect_and_configured_peers_bring_their_keys(tmp_path: Path) -> None:
    network = create_network(tmp_path / "net", local_hosts(3, 20_000), chain_id="t", accounts=0)
    node = network.nodes[0]
    genesis = parse_genesis(node.home.joinpath("genesis.json").read_bytes(), "genesis.json")
    keys = load_validator_keys(node.home)
    others = []
    for place, name in enumerate(("watcher", "joiner")):
        home = tmp_path / name
        home.mkdir()
        others.append(create_validator_keys(home).validator(name, bytes([9, place]) * 10))
    watcher, joiner = others
    entry = f"""
[[peers]]
name = "watcher"
host = "10.0.0.9"
port = 9
node_key = "0x{watcher.node_key.hex()}"
consensus_key = "0x{watcher.consensus_key.hex()}"
"""
    text = (node.home / "potchain.toml").read_text(encoding="utf-8")
    (node.home / "potchain.toml").write_text(text + entry, encoding="utf-8")
    config = load_config(node.home, {})
    first = genesis.first_epoch
    second = Epoch(1, 65, (*first.members[:2], joiner), first.parameters)
    directory = PeerDirectory(config, genesis, (first,), keys.node_id, keys.node_public)
    assert [(peer.name, peer.port) for peer in directory.peers((first,))] == [
        ("node1", 21_001), ("node2", 21_002), ("watcher", 9)
    ]  # fmt: skip
    # Who left is still configured by name; who joins is let in, and called once its address is configured.
    peers = directory.peers((first, second))
    assert [(peer.name, peer.port) for peer in peers] == [
        ("node1", 21_001), ("node2", 21_002), ("watcher", 9), ("joiner", 0)
    ]  # fmt: skip
    assert peers[-1].node_key == joiner.node_key
    thief = msgspec.structs.replace(joiner, node_key=keys.node_public)
    stolen = Epoch(1, 65, (*first.members[:2], thief), first.parameters)
    assert "joiner" not in {peer.name for peer in directory.peers((first, stolen))}, "our own node key"
    (node.home / "potchain.toml").write_text(text + entry.replace(watcher.node_key.hex(), "12"), encoding="utf-8")
    with pytest.raises(ConfigError, match="'watcher': node_key must be 0x and 64 hex digits"):
        PeerDirectory(load_config(node.home, {}), genesis, (first,), keys.node_id, keys.node_public)


def test_config_show_lists_every_value_with_its_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = create_network(tmp_path / "net", local_hosts(1, 20_000), chain_id="t", accounts=0)
    assert cli.main(["config", "show", "--home", str(network.nodes[0].home), "--json"]) == 0
    shown = {entry["key"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert shown["api.port"] == {"key": "api.port", "value": 20_000, "source": "potchain.toml"}
    assert shown["pool.count_max"]["source"] == "default"
    assert any(key.startswith("transport.tcp.") for key in shown)
    assert cli.main(["config", "show", "--home", str(network.nodes[0].home)]) == 0
    assert "api.port" in capsys.readouterr().out


def test_config_show_checks_the_options_of_plugins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = create_network(tmp_path / "net", local_hosts(1, 20_000), chain_id="t", accounts=0)
    monkeypatch.setenv("POTCHAIN_TRANSPORT_TCP_RECONNECT_CAPS_MS", "5")
    assert cli.main(["config", "show", "--home", str(network.nodes[0].home)]) == 2
    assert "did you mean 'reconnect_cap_ms'" in capsys.readouterr().err
