"""The sections of `potchain.toml`, one struct each. Defaults suit a test network on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from potchain.dissemination import DisseminationOptions
from potchain.links import LinkSpec
from potchain.pool.interface import PoolLimits

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
CountOrOff = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=3600)]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the sections of `potchain.toml`."""


class NodeSection(Section, frozen=True):
    """[node]"""

    name: str = ""
    """This node's name in logs and status; empty for its name in genesis."""
    verify_workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """Processes that check transaction signatures; one core each under load."""


class GenesisSection(Section, frozen=True):
    """[genesis]"""

    file: str = "genesis.json"
    """Genesis file, relative to the home folder. A recovered network's first state lies beside it, as `.state`."""


class LedgerSection(Section, frozen=True):
    """[ledger]"""

    url: str = ""
    """SQLAlchemy URL of the ledger; empty for the SQLite file ledger.sqlite in the home folder."""
    votes_url: str = ""
    """SQLAlchemy URL of vote log, guard and bodies; empty for votes.sqlite in the home folder. Never the ledger's."""
    projection_lag_max: Positive = 200_000
    """Inclusions that SQL history may lag behind execution before execution waits for it."""
    start_check: Literal["full", "tip"] = "full"
    """What a start verifies: "full", every hash and root since genesis, or "tip", the newest block."""
    query_deadline_ms: Positive = 5_000
    """A query that takes longer ends with an error, never with a partial answer."""


class ConsensusSection(Section, frozen=True):
    """[consensus]; the engine's own options are in [consensus.<engine>]"""

    engine: str = "pbft"
    """Name of an installed consensus engine; the same on every node of a network."""


class TransportSection(Section, frozen=True):
    """[transport]; the transport's own options are in [transport.<name>]"""

    name: str = "tcp"
    """Name of an installed transport."""
    listen_host: str = "127.0.0.1"
    """Address to listen on for other nodes; 0.0.0.0 for every interface."""
    listen_port: Port = 9600
    """Port to listen on for other nodes."""


class PeerSection(Section, frozen=True):
    """[[peers]]: where another node is reached. A validator's keys come from genesis or from the current epoch."""

    name: str
    """Its name as a validator; of an observer, or a validator to be, any."""
    host: str
    """Host name or address that it advertises."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    """Port of its transport."""
    node_key: str = ""
    """Public node key of a peer that is no validator, 0x and 64 hex digits; empty for a validator."""
    consensus_key: str = ""
    """Public consensus key of a peer that is no validator, 0x and 66 hex digits; empty for a validator."""


class ApiSection(Section, frozen=True):
    """[api]"""

    host: str = "127.0.0.1"
    """Address to listen on. Off loopback, reads need `token`."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    """TCP port; 0 lets the system choose."""
    token: str = ""
    """What clients that are not on loopback send as `Authorization: Bearer ...` to read. Empty: they cannot read.
    Submissions are signed transactions and need no token."""
    body_bytes_max: Positive = 1_048_576
    """Bound on a request body, after decompression."""
    body_timeout_s: Seconds = 10
    """How long a client may take to send its body."""
    submissions_max: Positive = 256
    """Submissions being read or admitted at once, over all clients; more get 503. Bounds the memory of bodies."""
    waits_max: Positive = 1_024
    """Requests that may wait (for a transaction or a block) at once; more get 503."""
    rate_per_s: CountOrOff = 5_000
    """Requests per second from one address, on average; 0 turns the limit off."""
    rate_burst: Positive = 10_000
    """Requests that one address may make at once after a pause."""
    rate_clients_max: Positive = 10_000
    """Addresses whose rate is remembered; the least recently seen is forgotten first."""
    query_deadline_s: Seconds = 5
    """How long a read of the ledger may take. Exceeded: 503, never a part of the answer."""
    read_threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """Ledger reads that run at once; others queue, inside the same deadline."""
    stop_timeout_s: Seconds = 5
    """How long a stopping node lets requests finish that do not wait."""


class LogSection(Section, frozen=True):
    """[log]"""

    format: Literal["auto", "human", "json"] = "auto"
    """"auto" is human on a terminal and JSON lines elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe message that is written."""


class LinksSection(LinkSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[links]: network conditions to emulate on frames to other nodes, for tests and experiments."""

    control: bool = False
    """Whether the running node takes other conditions over its API: `potchain links set`."""


class ApplicationSection(Section, frozen=True):
    """[application]; the options of each are in [application.<name>]"""

    enabled: tuple[str, ...] = ("accounts", "governance", "settlement")
    """Applications to run, the same on every node of a network."""


class SettlementSection(Section, frozen=True):
    """[settlement]; the options of each back end are in [settlement.<name>]"""

    backend: str = "ledger"
    """Name of an installed back end that settles on Layer 2; "ledger" only keeps the books and needs nothing below."""
    operator_key: str = ""
    """Keystore (Web3 V3) of this validator's operator, relative to the home folder: signs what Layer 2 shall do and
    votes on what happened there. Empty: Layer 2 is only watched."""
    operator_password_file: str = ""
    """File with that keystore's password, relative to the home folder, readable by its owner alone."""
    relay: bool = True
    """Whether this node sends transactions to Layer 2, and pays their gas, when it is its turn."""
    relay_key: str = ""
    """Keystore of the account that pays for gas; empty for the operator's."""
    relay_password_file: str = ""
    """File with its password; empty for `operator_password_file`."""
    confirmations: CountOrOff = 15
    """Blocks above an event of Layer 2 before it counts. A reorganisation that goes deeper cannot be healed."""
    poll_ms: Annotated[int, msgspec.Meta(ge=50, le=600_000)] = 250
    """Pause between two looks at Layer 2. A few seconds are kinder to a public endpoint."""
    relay_turn_ms: Annotated[int, msgspec.Meta(ge=1_000, le=3_600_000)] = 30_000
    """How long one operator has to relay before it is the next one's turn; best the same on all nodes."""
    stuck_after_ms: Annotated[int, msgspec.Meta(ge=1_000, le=3_600_000)] = 60_000
    """A transaction that no block took for so long is replaced by one with a higher fee."""
    real_value_confirmed: bool = False
    """Settle on a chain whose coin has a price although there are fewer than four validators, so that one that lies can
    take the money."""


class PluginsSection(Section, frozen=True):
    """[plugins]"""

    disabled: tuple[str, ...] = ()
    """Entry points of the group `potchain` that are not loaded."""


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "node": NodeSection,
    "genesis": GenesisSection,
    "ledger": LedgerSection,
    "consensus": ConsensusSection,
    "transport": TransportSection,
    "links": LinksSection,
    "api": ApiSection,
    "pool": PoolLimits,
    "dissemination": DisseminationOptions,
    "log": LogSection,
    "application": ApplicationSection,
    "settlement": SettlementSection,
    "plugins": PluginsSection,
}
"""The type of every table of the file but [[peers]] and those of plug-ins."""
