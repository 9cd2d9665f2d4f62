"""What a folder made by `potchain testnet init` holds, how it is made, and how it is read again.

    DIR/genesis.json                      the agreed beginning
    DIR/node0/potchain.toml               configuration of one node; beside it its genesis.json and its two keys, and
    DIR/node0/node.log, *.sqlite          what it writes when it runs
    DIR/accounts/account0000.json         keystores of funded accounts, all with the password in password.txt
    DIR/operators/node0.json              keystores of the validators' operators, likewise

Keystores made here are for tests: their password lies beside them, so they use few key-derivation rounds
(`keyfiles.TEST_ITERATIONS`). Nothing is ever overwritten.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from potchain.config import CONFIG_FILE, load_config
from potchain.crypto import SigningKey
from potchain.errors import ConfigError
from potchain.genesis import Genesis, InitialBalance, Parameters
from potchain.genesis_file import parse_genesis, render_genesis
from potchain.keyfiles import TEST_ITERATIONS, create_account_file, create_validator_keys, write_secret
from potchain.primitives import uint256

TRANSPORT_PORT_OFFSET = 1_000
"""Node i serves HTTP on base + i, and other nodes on base + 1000 + i."""
GENESIS_FILE = "genesis.json"
ACCOUNTS_FOLDER = "accounts"
OPERATORS_FOLDER = "operators"
PASSWORD_FILE = "password.txt"
TOKEN_FILE = "api-token.txt"


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """Where one validator will run."""

    name: str
    bind: str
    """Address that it listens on."""
    advertise: str
    """Host name or address under which the others reach it."""
    transport_port: int
    api_port: int


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a folder, and how it is reached from this machine."""

    name: str
    home: Path
    url: str
    token: str

    @property
    def log(self) -> Path:
        """Where `testnet start` writes what the node prints."""
        return self.home / "node.log"


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A folder as read back."""

    folder: Path
    nodes: tuple[Endpoint, ...]

    def genesis(self) -> Genesis:
        """The genesis, checked again."""
        path = self.folder / GENESIS_FILE
        return parse_genesis(path.read_bytes(), str(path))

    def account_files(self) -> list[Path]:
        """Keystores of the funded accounts, in order."""
        return sorted((self.folder / ACCOUNTS_FOLDER).glob("*.json"))

    def account_password(self) -> str:
        """The one password of all of them."""
        return (self.folder / ACCOUNTS_FOLDER / PASSWORD_FILE).read_text(encoding="utf-8").strip()


def local_hosts(count: int, base_port: int) -> tuple[Host, ...]:
    """Hosts for `count` validators on this machine alone. Raises ConfigError when the ports do not fit."""
    if not 1 <= count <= TRANSPORT_PORT_OFFSET or base_port + TRANSPORT_PORT_OFFSET + count > 65_536:
        raise ConfigError(
            f"{count} validators from port {base_port} on do not fit: at most {TRANSPORT_PORT_OFFSET} of them, and "
            f"port + {TRANSPORT_PORT_OFFSET} + validators must stay below 65536"
        )
    return tuple(
        Host(
            name=f"node{index}",
            bind="127.0.0.1",
            advertise="127.0.0.1",
            transport_port=base_port + TRANSPORT_PORT_OFFSET + index,
            api_port=base_port + index,
        )
        for index in range(count)
    )


def read_hosts(path: Path) -> tuple[Host, ...]:
    """Hosts from a file of lines `name bind advertise transport_port api_port`; # starts a comment.

    Raises ConfigError that names the line.
    """
    hosts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        ports = [int(word) for word in words[3:] if word.isascii() and word.isdigit() and 0 < int(word) < 65_536]
        if len(words) != 5 or len(ports) != 2:
            raise ConfigError(
                f"{path}:{number}: a line is `name bind advertise transport_port api_port`, such as "
                f"`alice 0.0.0.0 alice.example.org 9080 8080`, not {line.strip()!r}"
            )
        if not words[0].replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"{path}:{number}: a name is letters, digits, - and _, not {words[0]!r}")
        hosts.append(
            Host(name=words[0], bind=words[1], advertise=words[2], transport_port=ports[0], api_port=ports[1])
        )
    if not hosts:
        raise ConfigError(f"{path} names no host")
    names = [host.name for host in hosts]
    places = [(host.advertise, port) for host in hosts for port in (host.transport_port, host.api_port)]
    if len(set(names)) < len(names) or len(set(places)) < len(places):
        raise ConfigError(f"{path}: a name, or an advertised address with its port, stands twice")
    return tuple(hosts)


def create_network(
    folder: Path,
    hosts: Sequence[Host],
    *,
    chain_id: str,
    engine: str = "pbft",
    accounts: int = 10,
    balance: int = 10**12,
    funded: Sequence[InitialBalance] = (),
    parameters: Parameters | None = None,
    on_account: object = None,
) -> Network:
    """Make the folder of a network. `funded`: further initial balances, whose keys are not ours.

    `on_account`: called with nothing after each keystore, for a progress bar. Raises ConfigError when the folder is
    there and not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty, and nothing is overwritten; choose another folder")
    for inner in (ACCOUNTS_FOLDER, OPERATORS_FOLDER, *(host.name for host in hosts)):
        (folder / inner).mkdir(parents=True, mode=0o700)
    operators = _create_keystores(folder / OPERATORS_FOLDER, [host.name for host in hosts], on_account)
    names = [f"account{index:04d}" for index in range(accounts)]
    holders = _create_keystores(folder / ACCOUNTS_FOLDER, names, on_account)
    validators = tuple(
        create_validator_keys(folder / host.name).validator(host.name, operator)
        for host, operator in zip(hosts, operators, strict=True)
    )
    balances = [InitialBalance(address=address, balance=uint256(balance)) for address in (*operators, *holders)]
    genesis = Genesis(
        chain_id=chain_id,
        timestamp_ms=time.time_ns() // 1_000_000,
        validators=validators,
        accounts=tuple(sorted((*balances, *funded), key=lambda entry: entry.address)),
        parameters=parameters or Parameters(),
    )
    rendered = render_genesis(genesis)
    parse_genesis(rendered, str(folder / GENESIS_FILE))
    (folder / GENESIS_FILE).write_bytes(rendered)
    token = ""
    if any(host.bind not in ("127.0.0.1", "::1", "localhost") for host in hosts):
        token = secrets.token_urlsafe(24)
        write_secret(folder / TOKEN_FILE, token.encode() + b"\n")
    for host in hosts:
        home = folder / host.name
        (home / GENESIS_FILE).write_bytes(rendered)
        write_secret(home / CONFIG_FILE, _config_text(host, hosts, engine, token).encode())
    return read_network(folder)


def read_network(folder: Path) -> Network:
    """The network of a folder. Raises ConfigError when it is none."""
    homes = {path.parent.name: path.parent for path in folder.glob(f"*/{CONFIG_FILE}")}
    path = folder / GENESIS_FILE
    if not homes or not path.is_file():
        raise ConfigError(f"{folder} holds no network; make one with: potchain testnet init {folder} --validators 4")
    nodes = []
    for validator in parse_genesis(path.read_bytes(), str(path)).validators:
        if validator.name not in homes:
            continue
        home = homes[validator.name]
        api = load_config(home, {}).api
        host = "127.0.0.1" if api.host in ("0.0.0.0", "::", "localhost") else api.host
        nodes.append(
            Endpoint(name=validator.name, home=home, url=f"http://{host}:{api.port}", token=api.token)
        )
    return Network(folder=folder, nodes=tuple(nodes))


def _create_keystores(folder: Path, names: Sequence[str], on_account: object) -> list[bytes]:
    password = secrets.token_urlsafe(18)
    write_secret(folder / PASSWORD_FILE, password.encode() + b"\n")
    addresses = []
    for name in names:
        key = SigningKey.generate()
        create_account_file(folder / f"{name}.json", key, password, iterations=TEST_ITERATIONS)
        addresses.append(key.address)
        if callable(on_account):
            on_account()
    return addresses


def _config_text(host: Host, hosts: Sequence[Host], engine: str, token: str) -> str:
    lines = [
        "# Made by `potchain testnet init`. `potchain config show --home .` lists every setting.",
        "[node]",
        f"name = {_toml(host.name)}",
        "",
        "[consensus]",
        f"engine = {_toml(engine)}",
        "",
        "[transport]",
        f"listen_host = {_toml(host.bind)}",
        f"listen_port = {host.transport_port}",
        "",
        "[api]",
        f"host = {_toml(host.bind)}",
        f"port = {host.api_port}",
    ]
    if token:
        lines.append(f"token = {_toml(token)}")
    for other in hosts:
        if other.name != host.name:
            lines += [
                "",
                "[[peers]]",
                f"name = {_toml(other.name)}",
                f"host = {_toml(other.advertise)}",
                f"port = {other.transport_port}",
            ]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
