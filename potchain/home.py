"""The home folder of a node: one process at a time, and none for a network that its operator has given up."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

import msgspec

from potchain.errors import ConfigError

LOCK_FILE = "node.lock"
CONSENT_FILE = "recovery-signed.json"


class Consent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That an operator signed a recovery beside this home: the node must not go on with the old network."""

    old_genesis_hash: str
    genesis_hash: str
    height: int
    block_hash: str


def read_consent(home: Path) -> Consent | None:
    """The recovery that was signed beside this home, if any. Raises ConfigError."""
    path = home / CONSENT_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Consent)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as fault:
        raise ConfigError(f"cannot read {path}: {fault}; sign the recovery again") from None


def refuse_given_up(home: Path, genesis_hash: bytes) -> None:
    """Raises ConfigError when an operator has signed here that this network is carried on by another genesis."""
    consent = read_consent(home)
    if consent is not None and consent.old_genesis_hash == "0x" + genesis_hash.hex():
        raise ConfigError(
            f"the recovery {consent.genesis_hash} of this network at height {consent.height} was signed beside {home}; "
            f"a node that goes on could certify blocks that the recovery leaves out. Install the recovery: potchain "
            f"recover install GENESIS --home {home}. If it is given up by all operators, remove {home / CONSENT_FILE}"
        )


class HomeLock:
    """An advisory lock that the system drops when the process ends, however it ends."""

    def __init__(self, home: Path) -> None:
        self._path = home / LOCK_FILE
        self._descriptor = -1

    def __enter__(self) -> HomeLock:
        """Raises ConfigError when another process holds it."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as fault:
            raise ConfigError(f"cannot open {self._path}: {fault.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise ConfigError(
                f"another process (pid {holder}) runs on the home folder {self._path.parent}; stop it first. Two nodes "
                f"with one key would sign against each other"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
