"""The configuration of one node: `potchain.toml` in its home folder, decoded once into typed structs.

A value comes from the environment (`POTCHAIN_<SECTION>_<KEY>`), else from the file, else from the default, and
`NodeConfig.settings` says which. Unknown sections, keys and variables are refused with the nearest valid name. Tables
of plug-ins ([consensus.pbft], [transport.tcp], [application.accounts]) are handed on undecoded: only the plug-in knows
their type. The whole `NodeConfig` is seen by `node` and `cli` alone; every room below takes its own section or less.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from potchain.config.links import profile_of
from potchain.config.sections import (
    SECTIONS,
    ApiSection,
    ApplicationSection,
    ConsensusSection,
    GenesisSection,
    LedgerSection,
    LinksSection,
    LogSection,
    NodeSection,
    PeerSection,
    PluginsSection,
    SettlementSection,
    TransportSection,
)
from potchain.dissemination import DisseminationOptions
from potchain.errors import ConfigError
from potchain.links import decode_spec
from potchain.pool.interface import PoolLimits
from potchain.tables import Table, decode_table, nearest_hint

CONFIG_FILE = "potchain.toml"
ENVIRONMENT_PREFIX = "POTCHAIN_"

class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One effective value and where it came from."""

    key: str
    """Such as "api.port"."""
    value: Any
    source: str
    """"default", "potchain.toml" or the name of an environment variable."""


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator may choose for one node, checked."""

    home: Path
    node: NodeSection
    genesis: GenesisSection
    ledger: LedgerSection
    consensus: ConsensusSection
    transport: TransportSection
    links: LinksSection = LinksSection()
    peers: tuple[PeerSection, ...]
    api: ApiSection
    pool: PoolLimits
    dissemination: DisseminationOptions
    log: LogSection
    application: ApplicationSection
    settlement: SettlementSection = SettlementSection()
    plugins: PluginsSection
    plugin_tables: Mapping[str, Table]
    """Undecoded tables of plug-ins by place, such as "consensus.pbft"; decode with `tables.decode_table`."""
    settings: tuple[Setting, ...]
    """Every value with its source, in the order of the sections."""

    @property
    def genesis_path(self) -> Path:
        """Where the genesis file is."""
        return self.home / self.genesis.file

    @property
    def state_path(self) -> Path:
        """Where a recovered network's first state is, beside the genesis file."""
        return self.genesis_path.with_suffix(".state")

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.ledger.url or f"sqlite:///{(self.home / 'ledger.sqlite').absolute()}"

    @property
    def votes_url(self) -> str:
        """SQLAlchemy URL of vote log, guard and bodies."""
        return self.ledger.votes_url or f"sqlite:///{(self.home / 'votes.sqlite').absolute()}"

    def options_table(self, section: str, name: str) -> Table:
        """The undecoded table of a plug-in, empty if the file has none."""
        return self.plugin_tables.get(f"{section}.{name}", {})


PLUGIN_TABLES = ("consensus", "transport", "application", "settlement")
"""Sections whose sub-tables belong to plug-ins."""


def load_config(home: Path, environment: Mapping[str, str]) -> NodeConfig:
    """The configuration of the node whose home folder this is. `environment` is `os.environ`, or a part of it.

    Raises ConfigError: no file, no TOML, an unknown key, a wrong type, a value out of range; LinkError likewise for
    [links].
    """
    path = home / CONFIG_FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; {home} is no home folder of a node (make a network with: potchain testnet init)"
        ) from None
    except OSError as fault:
        raise ConfigError(f"cannot read {path}: {fault.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path} is not TOML: {fault}") from None
    return _Composer(home, document, environment).config()


class _Composer:
    """Lays environment over file over defaults, and remembers where each value came from."""

    def __init__(self, home: Path, document: dict[str, Any], environment: Mapping[str, str]) -> None:
        self._home = home
        self._document = document
        self._environment = environment
        self._sources: dict[str, str] = {}
        self._plugin_tables: dict[str, dict[str, Any]] = {}
        self._settings: list[Setting] = []

    def config(self) -> NodeConfig:
        self._refuse_unknown_sections()
        raw = {name: self._table(name) for name in SECTIONS}
        for variable in sorted(self._environment):
            self._override(raw, variable)
        sections: dict[str, Any] = {
            name: decode_table(raw[name], kind, name) for name, kind in SECTIONS.items() if name != "links"
        }
        sections["links"] = decode_spec(raw["links"], LinksSection, "links")
        peers = self._peers()
        self._refuse_stray_tables(sections)
        self._collect_settings(sections, peers)
        config = NodeConfig(
            home=self._home,
            peers=peers,
            plugin_tables=self._plugin_tables,
            settings=tuple(self._settings),
            **sections,
        )
        _check(config)
        return config

    def _refuse_unknown_sections(self) -> None:
        known = (*SECTIONS, "peers")
        for name in self._document:
            if name not in known:
                raise ConfigError(f"{CONFIG_FILE} has no section {name!r} ({nearest_hint(name, known)})")

    def _table(self, name: str) -> dict[str, Any]:
        table = self._document.get(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"[{name}] must be a table, not {table!r}")
        kept = {}
        for key, value in table.items():
            if isinstance(value, dict) and name in PLUGIN_TABLES:
                self._plugin_tables[f"{name}.{key}"] = dict(value)
                self._sources.update({f"{name}.{key}.{option}": CONFIG_FILE for option in value})
            else:
                kept[key] = value
                self._sources[f"{name}.{key}"] = CONFIG_FILE
        return kept

    def _override(self, raw: dict[str, dict[str, Any]], variable: str) -> None:
        if not variable.startswith(ENVIRONMENT_PREFIX):
            return
        section, _, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        if section not in SECTIONS:
            return  # another program's, or ours for another purpose, such as POTCHAIN_KEY_PASSWORD
        text = self._environment[variable]
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(SECTIONS[section])}
        if key in fields:
            raw[section][key] = _value(text, fields[key])
            self._sources[f"{section}.{key}"] = variable
            return
        plugin, _, option = key.partition("_")
        if section in PLUGIN_TABLES and option:
            self._plugin_tables.setdefault(f"{section}.{plugin}", {})[option] = _value(text, None)
            self._sources[f"{section}.{plugin}.{option}"] = variable
            return
        known = [f"{ENVIRONMENT_PREFIX}{section.upper()}_{name.upper()}" for name in fields]
        raise ConfigError(f"environment variable {variable} names no setting ({nearest_hint(variable, known)})")

    def _peers(self) -> tuple[PeerSection, ...]:
        listed = self._document.get("peers", [])
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise ConfigError("peers must be a list of tables, each headed [[peers]]")
        return tuple(decode_table(entry, PeerSection, f"peers[{index}]") for index, entry in enumerate(listed))

    def _refuse_stray_tables(self, sections: Mapping[str, Any]) -> None:
        choices: dict[str, tuple[str, tuple[str, ...]]] = {
            "consensus": ("engine", (sections["consensus"].engine,)),
            "transport": ("name", (sections["transport"].name,)),
            "application": ("enabled", sections["application"].enabled),
            "settlement": ("backend", (sections["settlement"].backend,)),
        }
        for place in self._plugin_tables:
            section, _, name = place.partition(".")
            key, chosen = choices[section]
            if name not in chosen:
                # Either may be the misspelt one: which names are installed is not known here.
                shown = ", ".join(map(repr, chosen)) or "empty"
                raise ConfigError(
                    f"[{place}] belongs to nothing that is chosen: {section}.{key} is {shown}; write the same name in "
                    f"both places, or leave the table out"
                )

    def _collect_settings(self, sections: Mapping[str, Any], peers: tuple[PeerSection, ...]) -> None:
        for name in SECTIONS:
            section = sections[name]
            for key in section.__struct_fields__:
                value = getattr(section, key)
                self._add(f"{name}.{key}", msgspec.to_builtins(value) if name == "links" else value)
            for place, table in sorted(self._plugin_tables.items()):
                if place.startswith(name + "."):
                    for option, value in table.items():
                        self._add(f"{place}.{option}", value)
        for index, peer in enumerate(peers):
            shown = f"{peer.name} {peer.host}:{peer.port}"
            self._settings.append(Setting(key=f"peers[{index}]", value=shown, source=CONFIG_FILE))

    def _add(self, key: str, value: object) -> None:
        self._settings.append(Setting(key=key, value=_masked(key, value), source=self._sources.get(key, "default")))


def _value(text: str, kind: object) -> Any:  # noqa: ANN401 - the edge: text in, checked against its type afterwards
    """A variable's value: as it stands where text is wanted, else as a TOML value, else as text."""
    if kind is str or getattr(kind, "__origin__", None) is Literal:
        return text
    if getattr(kind, "__origin__", None) is tuple and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _masked(key: str, value: object) -> object:
    if key == "api.token" and value:
        return "(set)"
    if isinstance(value, str) and "url" in key:
        return re.sub(r"://([^:/@]*):[^@]*@", r"://\1:***@", value)
    return value


def _check(config: NodeConfig) -> None:
    """What no single field can check. Raises ConfigError."""
    if config.ledger_url == config.votes_url:
        raise ConfigError("ledger.url and ledger.votes_url are the same; vote log and ledger must be separate")
    if config.settlement.operator_key and not config.settlement.operator_password_file:
        raise ConfigError("settlement.operator_key is encrypted; set settlement.operator_password_file too")
    port = config.api.port
    profile_of(config.links, config.home)
    if config.transport.listen_port == port != 0:
        raise ConfigError(f"transport.listen_port and api.port are both {port}; choose two")
