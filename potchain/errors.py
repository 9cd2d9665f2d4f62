"""The one tree of expected errors.

    PotchainError
    ├── ConfigError                a file, flag or environment value of the operator
    │   ├── GenesisError           a genesis file; carries every fault found
    │   └── KeyFileError           a key file: missing, readable by others, wrong password
    ├── PluginError                an installed plug-in cannot be used
    ├── CodecError                 bytes that are not the canonical form of what they claim to be
    ├── InvalidTransaction         refused before execution; carries a stable `code`
    ├── TransactionFailed          refused during execution, fee kept; carries a stable `code`
    ├── InvalidProposal            a proposal no node may vote for
    ├── InvalidProof               a signature, certificate, branch or proof that does not hold
    ├── GuardRefusal               our own signer refuses a second digest for one slot
    ├── TransportError             a peer, a socket, a frame
    ├── LinkError                  network conditions that make no sense
    ├── ExperimentError            an experiment that cannot be run as asked
    │   └── SchedulerUnreachable   no Dask scheduler at the address
    ├── SettlementError            Layer 2, or what this node needs for it; carries a stable `code`
    ├── LedgerError                the database of this node
    │   └── LedgerCorrupt          stored bytes that contradict each other; carries the height
    └── ClientError                an HTTP call to a node failed; carries status and code

Every message says what happened, which value, and what to do. Anything else that is raised is a bug and is never
caught below the top of a program.
"""

from __future__ import annotations

from collections.abc import Sequence


class PotchainError(Exception):
    """Root of everything that may happen in normal operation."""


class ConfigError(PotchainError):
    """Something the operator wrote is not usable."""


class GenesisError(ConfigError):
    """A genesis file with one or more faults, all of them named at once."""

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        listed = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(f"genesis {source} has {len(self.faults)} fault(s):{listed}")


class KeyFileError(ConfigError):
    """A key file is missing, unsafe or cannot be opened."""


class PluginError(PotchainError):
    """A plug-in is unknown, broken, or clashes with another."""


class CodecError(PotchainError):
    """Bytes that are not canonical, too long, or of another type."""


class InvalidTransaction(PotchainError):
    """A transaction that is refused before execution and changes nothing.

    `code` is stable and documented in the API reference; `detail` names the value.
    """

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


class TransactionFailed(PotchainError):
    """A transaction that took its place and paid its fee, but whose action was refused."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


class InvalidProposal(PotchainError):
    """A proposal that a correct node refuses, for a reason that every node sees alike."""


class InvalidProof(PotchainError):
    """A signature, certificate, Merkle branch or proof that does not hold."""


class GuardRefusal(PotchainError):
    """The signer's guard refused to sign: doing so could be equivocation."""


class TransportError(PotchainError):
    """A peer, a socket or a frame."""


class LinkError(PotchainError):
    """Network conditions that make no sense, or cannot be applied."""


class ExperimentError(PotchainError):
    """An experiment that cannot be run as asked: the value, and what is possible."""


class SchedulerUnreachable(ExperimentError):
    """No Dask scheduler answers at the address, or it has gone away."""


class SettlementError(PotchainError):
    """Layer 2 cannot be used as asked. `code` is stable: a key of `potchain.settlement.interface.FAULTS`."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


class LedgerError(PotchainError):
    """The database of this node cannot be read or written."""


class LedgerCorrupt(LedgerError):
    """Stored bytes contradict each other; `height` is the first bad one."""

    def __init__(self, height: int, detail: str) -> None:
        self.height = height
        self.detail = detail
        super().__init__(f"ledger is corrupt at height {height}: {detail}")


class ClientError(PotchainError):
    """A node answered an HTTP call with a problem, or could not be reached (`status` 0)."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        super().__init__(detail if not status else f"{code} (HTTP {status}): {detail}")
