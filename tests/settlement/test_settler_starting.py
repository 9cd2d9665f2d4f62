"""From potchain.toml to a settler: keys, back ends, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from settler_layer2 import Layer2, ScriptedBackend
from settler_world import Clock, World, key_of, silent

from potchain.config import NodeConfig, load_config
from potchain.errors import ConfigError, KeyFileError, PluginError, SettlementError
from potchain.keyfiles import create_account_file
from potchain.ledger.database import Database, open_database
from potchain.ledger.migrate import upgrade
from potchain.primitives import ZERO_ADDRESS
from potchain.registry import Registry, load_plugins
from potchain.settlement import BackendContext, Contract, SettlementBackend
from potchain.settler.metrics import SettlementCollector
from potchain.settler.starting import Settling, make_settling

CONTRACT = Contract("multisig", 31_337, key_of("contract").address, ZERO_ADDRESS, 0, 0)
PASSWORD = "only for this test"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[settlement.scripted]"""

    colour: str = "red"


class Factory:
    """A back end of the tests, as a plug-in offers one."""

    name = "scripted"
    version = "1"
    scheme = "multisig"
    options_type: type[msgspec.Struct] = Options

    def __init__(self) -> None:
        self.contexts: list[BackendContext] = []
        self.options: list[msgspec.Struct] = []

    def create(self, options: msgspec.Struct, context: BackendContext) -> SettlementBackend:
        """Over a chain of its own."""
        self.contexts.append(context)
        self.options.append(options)
        account = context.relay_key.address if context.relay_key else b""
        chain = Layer2(context.contract, World(1).owners, 1)
        return ScriptedBackend(chain, account, context.confirmations, 4, silent)


@pytest.fixture
def factory() -> Factory:
    return Factory()


@pytest.fixture
def registry(factory: Factory) -> Registry:
    found = load_plugins()
    return Registry(
        engines=found.engines,
        transports=found.transports,
        applications=found.applications,
        settlements={**found.settlements, "scripted": factory},
        commands=found.commands,
        plugins=found.plugins,
    )


@pytest.fixture
def votes(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path / "votes.sqlite", role="votes")
    upgrade(database)
    yield database
    database.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("operator", "relay"):
        create_account_file(tmp_path / f"{name}.json", key_of(name), PASSWORD, iterations=10)
    password = tmp_path / "password.txt"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    return tmp_path


def config_of(home: Path, text: str) -> NodeConfig:
    (home / "potchain.toml").write_text(text)
    return load_config(home, {})


def made(home: Path, registry: Registry, votes: Database, text: str) -> Settling:
    return make_settling(config_of(home, text), registry, votes, bytes(32), Clock())


KEYS = 'operator_key = "operator.json"\noperator_password_file = "password.txt"\n'
HEAD = '[settlement]\nbackend = "scripted"\n'


def test_books_only_is_the_default(home: Path, registry: Registry, votes: Database) -> None:
    status = made(home, registry, votes, "").status()
    assert (status.backend, status.report.state, status.operator, status.relay_account) == ("ledger", "off", None, None)


@pytest.mark.parametrize(
    ("text", "operator", "relay"),
    [
        ("", None, None),
        (KEYS, "operator", "operator"),
        (KEYS + 'relay_key = "relay.json"\n', "operator", "relay"),
        (KEYS + "relay = false\n", "operator", None),
        ('relay_key = "relay.json"\nrelay_password_file = "password.txt"\n', None, "relay"),
    ],
)
def test_keys(
    home: Path, registry: Registry, votes: Database, text: str, operator: str | None, relay: str | None
) -> None:
    status = made(home, registry, votes, HEAD + text).status()
    assert status.operator == (key_of(operator).address if operator else None)
    assert status.relay_account == (key_of(relay).address if relay else None)


def _spoilt(home: Path, name: str, content: str, mode: int = 0o600) -> None:
    (home / name).write_text(content)
    (home / name).chmod(mode)


@pytest.mark.parametrize(
    ("spoilt", "text", "error", "words"),
    [
        (None, 'operator_key = "operator.json"\n', ConfigError, "set settlement.operator_password_file"),
        (None, KEYS.replace("operator.json", "operater.json"), KeyFileError, "did you mean 'operator.json'"),
        (("password.txt", "wrong"), KEYS, KeyFileError, "wrong password"),
        (("password.txt", ""), KEYS, KeyFileError, "is empty"),
        (("password.txt", PASSWORD, 0o644), KEYS, KeyFileError, "chmod 600"),
        (("operator.json", "{}"), KEYS, KeyFileError, "no Web3 V3 keystore"),
        (None, 'relay_key = "relay.json"\n', KeyFileError, "settlement.relay_password_file"),
        (None, "[settlement.scripted]\ncolor = 'red'\n", ConfigError, "did you mean 'colour'"),
        (None, "[settlement.other]\n", ConfigError, r"\[settlement.other\] belongs to nothing"),
        (None, "poll_ms = 1\n", ConfigError, "settlement.poll_ms"),
        (None, "confirmation = 1\n", ConfigError, "did you mean 'confirmations'"),
    ],
)
def test_what_is_refused_at_the_start(
    home: Path,
    registry: Registry,
    votes: Database,
    spoilt: tuple[str, str] | tuple[str, str, int] | None,
    text: str,
    error: type[Exception],
    words: str,
) -> None:
    if spoilt is not None:
        _spoilt(home, *spoilt)
    with pytest.raises(error, match=words):
        made(home, registry, votes, HEAD + text)


def test_an_unknown_back_end(home: Path, registry: Registry, votes: Database) -> None:
    with pytest.raises(PluginError, match=r"unknown settlement back end 'scriptd'.*did you mean 'scripted'"):
        made(home, registry, votes, '[settlement]\nbackend = "scriptd"\n')


def test_the_environment_counts(home: Path) -> None:
    (home / "potchain.toml").write_text("")
    environment = {"POTCHAIN_SETTLEMENT_POLL_MS": "900", "POTCHAIN_SETTLEMENT_LEDGER_COLOUR": "red"}
    config = load_config(home, environment)
    assert config.settlement.poll_ms == 900
    assert config.options_table("settlement", "ledger") == {"colour": "red"}


def test_the_back_end_gets_what_it_needs_when_a_contract_is_bound(
    home: Path, registry: Registry, votes: Database, factory: Factory
) -> None:
    text = HEAD + KEYS + "confirmations = 7\n[settlement.scripted]\ncolour = 'blue'\n"
    settling = made(home, registry, votes, text)
    assert factory.contexts == []

    async def make(contract: Contract) -> SettlementBackend:
        assert settling.settler is not None
        return await settling.settler.make_backend(contract)

    asyncio.run(make(CONTRACT))
    (context,) = factory.contexts
    assert (context.contract, context.confirmations) == (CONTRACT, 7)
    assert context.relay_key is not None
    assert context.relay_key.address == key_of("operator").address
    assert factory.options == [Options(colour="blue")]
    safe = msgspec.structs.replace(CONTRACT, scheme="safe")
    with pytest.raises(SettlementError, match="the bound contract has the scheme 'safe'"):
        asyncio.run(make(safe))


def test_metrics_have_every_state_and_phase() -> None:
    async def run() -> str:
        world = World(1)
        world.bind()
        world.deposit(0, 1_000)
        world.layer2.mine()
        world.withdraw(1, 5)
        world.ledger.make_block()
        for _ in range(2):
            await world.step()
        registry = CollectorRegistry()
        registry.register(SettlementCollector(world.nodes[0].settler.status))
        return generate_latest(registry).decode()

    text = asyncio.run(run())
    for line in (
        'potchain_settlement_state{state="working"} 1.0',
        'potchain_settlement_state{state="waiting"} 0.0',
        'potchain_settlement_actions{phase="sending"} 1.0',
        'potchain_settlement_actions{phase="blocked"} 0.0',
        "potchain_settlement_contract_funds 1.001e+06",
        "potchain_settlement_reorgs_total 0.0",
        "potchain_settlement_next_action 1.0",
    ):
        assert line in text, text
