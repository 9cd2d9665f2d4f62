"""Finds plug-ins through the entry-point group `potchain` and offers what they bring, by name.

There is no global registry: `load_plugins` builds one and hands it on. A broken plug-in is never skipped in silence:
it stops the program with a PluginError that names its distribution, and `disabled` is the way to go on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, Protocol, TypeVar

import msgspec
import pluggy

import potchain.hookspecs as hookspecs
from potchain.application.accounts import AccountsApplication
from potchain.application.governance.application import GovernanceApplication
from potchain.application.interface import Application, ApplicationFactory
from potchain.application.settlement.application import SettlementApplication
from potchain.consensus.interface import EngineFactory
from potchain.errors import PluginError, PotchainError, SettlementError
from potchain.hookspecs import CommandPlace
from potchain.settlement.interface import BackendContext, SettlementBackend, SettlementBackendFactory
from potchain.tables import nearest_hint
from potchain.transactions import TransactionBody
from potchain.transport import TransportFactory

CORE = "potchain"
"""Distribution of everything that is built in."""


_IMPORT_FAULTS = (
    ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, LookupError, ArithmeticError,
    AssertionError, OSError, RuntimeError, PotchainError,
)  # fmt: skip
"""What a stranger's module may raise when it is imported; each is turned into an error that names the stranger."""


class NamedFactory(Protocol):
    """What every factory has, whatever it makes."""

    name: str
    version: str
    options_type: type[msgspec.Struct]


F = TypeVar("F", bound=NamedFactory)


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """One installed plug-in, for `potchain plugin list`."""

    name: str
    """Name of its entry point."""
    module: str
    distribution: str
    version: str
    """Version of the distribution."""
    offers: tuple[str, ...]
    """Such as "engine pbft 1.0", in the order of the hooks."""


class AccountsOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table [application.accounts]: empty, accounts have nothing that a node could choose."""


class AccountsFactory:
    """The built-in application, offered like a plug-in's."""

    name = "accounts"
    version = "1"
    options_type: type[msgspec.Struct] = AccountsOptions

    def create(self, options: msgspec.Struct) -> Application:
        """Accounts and transfers."""
        return AccountsApplication()


class GovernanceOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table [application.governance]: empty, operators decide on the ledger."""


class GovernanceFactory:
    """Proposals and votes of operators; needs the application settlement."""

    name = "governance"
    version = "1"
    options_type: type[msgspec.Struct] = GovernanceOptions

    def create(self, options: msgspec.Struct) -> Application:
        """Governance."""
        return GovernanceApplication()


class SettlementOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table [application.settlement]: empty, its terms are set by governance."""


class SettlementFactory:
    """Withdrawals and deposits."""

    name = "settlement"
    version = "1"
    options_type: type[msgspec.Struct] = SettlementOptions

    def create(self, options: msgspec.Struct) -> Application:
        """Settlement."""
        return SettlementApplication()


class LedgerBackendOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table [settlement.ledger]: empty, books need nothing."""


class LedgerBackendFactory:
    """The settlement back end of a node that keeps the books and has nothing to do with Layer 2."""

    name = "ledger"
    version = "1"
    scheme = ""
    options_type: type[msgspec.Struct] = LedgerBackendOptions

    def create(self, options: msgspec.Struct, context: BackendContext) -> SettlementBackend:
        """Never: there is nothing to run. Raises SettlementError(`not_configured`)."""
        raise SettlementError(
            "not_configured",
            f"the back end 'ledger' keeps books only and relays nothing; for a contract of the scheme "
            f"{context.contract.scheme!r} set settlement.backend to one that serves it",
        )


class Registry:
    """What is installed, by name. Lookups raise PluginError with the installed names."""

    def __init__(
        self,
        *,
        engines: Mapping[str, EngineFactory],
        transports: Mapping[str, TransportFactory],
        applications: Mapping[str, ApplicationFactory],
        settlements: Mapping[str, SettlementBackendFactory],
        commands: Mapping[str, CommandPlace],
        plugins: tuple[Plugin, ...],
    ) -> None:
        self.engines = engines
        self.transports = transports
        self.applications = applications
        self.settlements = settlements
        self.commands = commands
        """Of plug-ins only, by name; the program's own are listed in `potchain.cli.program`."""
        self.plugins = plugins

    def engine(self, name: str) -> EngineFactory:
        """The consensus engine of that name."""
        return _found(self.engines, name, "consensus engine", "consensus.engine")

    def transport(self, name: str) -> TransportFactory:
        """The transport of that name."""
        return _found(self.transports, name, "transport", "transport.name")

    def application(self, name: str) -> ApplicationFactory:
        """The application of that name."""
        return _found(self.applications, name, "application", "application.enabled")

    def settlement(self, name: str) -> SettlementBackendFactory:
        """The settlement back end of that name."""
        return _found(self.settlements, name, "settlement back end", "settlement.backend")

    def body_types(self) -> tuple[type[TransactionBody], ...]:
        """Transaction kinds of every installed application, for tools that sign and verify without a node.

        Raises PluginError when an application cannot do with its default options.
        """
        found: list[type[TransactionBody]] = []
        for name, factory in self.applications.items():
            try:
                options = factory.options_type()
            except TypeError as fault:
                raise PluginError(f"application {name!r} has options without a default: {fault}") from None
            found.extend(factory.create(options).body_types)
        return tuple(found)


def load_plugins(disabled: Iterable[str] = ()) -> Registry:
    """Import every installed plug-in but the `disabled` ones (names of entry points) and collect their factories.

    Raises PluginError, naming the distribution, when a plug-in cannot be imported, implements a hook that does not
    exist, or offers a name that another one offers too.
    """
    blocked = frozenset(disabled)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    found = sorted(_entry_points(), key=lambda pair: (pair[0].name, pair[1].name))
    owners: dict[str, Distribution] = {}
    modules: dict[str, str] = {}
    for entry, distribution in found:
        if entry.name in blocked:
            continue
        if entry.name in owners:
            raise PluginError(
                f"two plug-ins are named {entry.name!r}: one of {_shown(owners[entry.name])}, "
                f"one of {_shown(distribution)}; uninstall one of them"
            )
        _register(manager, entry, distribution)
        owners[entry.name] = distribution
        modules[entry.name] = entry.value
    collector = _Collector(manager, owners)
    engines = collector.collect("engine", "consensus_engines")
    transports = collector.collect("transport", "transports")
    applications = collector.collect(
        "application", "applications", built_in=(AccountsFactory(), GovernanceFactory(), SettlementFactory())
    )
    settlements = collector.collect("settlement", "settlement_backends", built_in=(LedgerBackendFactory(),))
    commands = collector.collect("command", "cli_commands")
    plugins = tuple(
        Plugin(
            name=name,
            module=modules[name],
            distribution=distribution.name,
            version=distribution.version,
            offers=tuple(collector.offers[name]),
        )
        for name, distribution in owners.items()
    )
    return Registry(
        engines=engines,
        transports=transports,
        applications=applications,
        settlements=settlements,
        commands=commands,
        plugins=plugins,
    )


def _entry_points() -> list[tuple[EntryPoint, Distribution]]:
    """Each entry point of the group once, even if its distribution is on the path twice (editable installs are)."""
    seen: set[tuple[str, str, str]] = set()
    pairs = []
    for distribution in distributions():
        for entry in distribution.entry_points:
            key = (distribution.name, entry.name, entry.value)
            if entry.group == hookspecs.PROJECT and key not in seen:
                seen.add(key)
                pairs.append((entry, distribution))
    return pairs


def _register(manager: pluggy.PluginManager, entry: EntryPoint, distribution: Distribution) -> None:
    try:
        manager.register(entry.load(), name=entry.name)
        manager.check_pending()
    except pluggy.PluginValidationError as fault:
        raise PluginError(
            f"plug-in {entry.name!r} of {_shown(distribution)} does not fit the hooks: {fault}; "
            f"see the hooks reference"
        ) from fault
    except _IMPORT_FAULTS as fault:
        raise PluginError(
            f"plug-in {entry.name!r} of {_shown(distribution)} cannot be imported: {type(fault).__name__}: {fault}; "
            f"repair or uninstall it, or add {entry.name!r} to plugins.disabled"
        ) from fault


class _Collector:
    """Asks each plug-in in turn, so that every factory is known by the plug-in that brought it."""

    def __init__(self, manager: pluggy.PluginManager, owners: Mapping[str, Distribution]) -> None:
        self._manager = manager
        self._owners = owners
        self.offers: dict[str, list[str]] = {name: [] for name in owners}

    def collect(self, what: str, hook: str, built_in: Iterable[Any] = ()) -> dict[str, Any]:
        found: dict[str, Any] = {}
        brought_by: dict[str, str] = {}
        for factory in built_in:
            found[factory.name] = factory
            brought_by[factory.name] = CORE
        for plugin in self._owners:
            for factory in self._ask(plugin, hook):
                name = factory.name
                if name in found:
                    raise PluginError(
                        f"two plug-ins offer the {what} {name!r}: {brought_by[name]} and {self._named(plugin)}; "
                        f"uninstall one, or add its entry point to plugins.disabled"
                    )
                found[name] = factory
                brought_by[name] = self._named(plugin)
                self.offers[plugin].append(f"{what} {name} {factory.version}")
        return dict(sorted(found.items()))

    def _ask(self, plugin: str, hook: str) -> Iterable[Any]:
        module = self._manager.get_plugin(plugin)
        if self._manager.parse_hookimpl_opts(module, hook) is None:
            return ()
        implementation: Callable[[], Iterable[Any]] = getattr(module, hook)
        return implementation()

    def _named(self, plugin: str) -> str:
        return f"{plugin!r} of {_shown(self._owners[plugin])}"


def _found(factories: Mapping[str, F], name: str, what: str, key: str) -> F:
    factory = factories.get(name)
    if factory is None:
        installed = ", ".join(sorted(factories)) or "none"
        raise PluginError(
            f"unknown {what} {name!r} (installed: {installed}; {nearest_hint(name, factories)}); "
            f"set {key} in potchain.toml"
        )
    return factory


def _shown(distribution: Distribution) -> str:
    return f"{distribution.name} {distribution.version}"
