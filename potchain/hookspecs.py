"""The hooks of the entry-point group `potchain`. Their docstrings are the reference; there are no others.

A plug-in is a module named in the entry-point group `potchain`, with functions marked by `hookimpl`. Built-in plug-ins
use the same hooks and import only the public API.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pluggy

from potchain.application.interface import ApplicationFactory
from potchain.consensus.interface import EngineFactory
from potchain.settlement.interface import SettlementBackendFactory
from potchain.transport import TransportFactory

PROJECT = "potchain"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class CommandPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A command of the program `potchain`, and where it is imported from when somebody asks for it."""

    name: str
    """The word that follows `potchain`."""
    version: str
    place: str
    """"package.module:attribute", a click command or group; imported by --help too, so it must import little."""


@hookspec
def consensus_engines() -> Iterable[EngineFactory]:  # type: ignore[empty-body]
    """Consensus engines that this plug-in offers, by name; chosen with `consensus.engine` in the configuration."""


@hookspec
def transports() -> Iterable[TransportFactory]:  # type: ignore[empty-body]
    """Transports that this plug-in offers, by name; chosen with `transport.name` in the configuration."""


@hookspec
def applications() -> Iterable[ApplicationFactory]:  # type: ignore[empty-body]
    """Applications that this plug-in offers, by name; listed in `application.enabled` in the configuration."""


@hookspec
def settlement_backends() -> Iterable[SettlementBackendFactory]:  # type: ignore[empty-body]
    """Settlement back ends that this plug-in offers, by name; chosen with `settlement.backend` in the configuration."""


@hookspec
def cli_commands() -> Iterable[CommandPlace]:  # type: ignore[empty-body]
    """Commands that this plug-in adds to the program `potchain`, by name."""
