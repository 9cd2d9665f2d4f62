"""Folders of wallets: one Web3 V3 keystore for each owner, all under one password, and never a plain key.

A folder appears whole or not at all: the files are written beside it and the folder is renamed at the end. Nothing that
exists is overwritten.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from potchain import KeyFileError, SigningKey
from potchain.commands import TEST_ITERATIONS, account_file_address, create_account_file

WALLETS_MAX: Final = 255
"""As many owners as the contract accepts."""


class Wallet(msgspec.Struct, frozen=True, kw_only=True):
    """One keystore."""

    path: Path
    address: bytes


def create_wallets(
    folder: Path, count: int, password: str, *, weak: bool, say: Callable[[str], None]
) -> tuple[Wallet, ...]:
    """Make `folder` with `count` keystores, mode 0600, named wallet-01.json and so on.

    `weak`: few rounds of key derivation, for wallets without value; else a second for each. Raises KeyFileError when
    the folder is there and not empty, or the password is empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KeyFileError(f"{folder} is there already and not empty; choose a new folder: no key is ever overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    digits = max(2, len(str(count)))
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # mode 0700
    with ExitStack() as undo:  # whatever ends it, Ctrl-C too, leaves no half-made folder
        undo.callback(shutil.rmtree, made, ignore_errors=True)
        wallets = []
        for number in range(1, count + 1):
            key, name = SigningKey.generate(), f"wallet-{number:0{digits}d}.json"
            create_account_file(made / name, key, password, iterations=TEST_ITERATIONS if weak else None)
            wallets.append(Wallet(path=folder / name, address=key.address))
            say(f"{number} of {count} wallets written")
        if folder.exists():
            folder.rmdir()
        os.replace(made, folder)
        undo.pop_all()
    return tuple(wallets)


def read_wallets(folder: Path) -> tuple[Wallet, ...]:
    """Every keystore of a folder, by name. Raises KeyFileError when one is none, or there are none."""
    paths = sorted(path for path in folder.glob("*.json") if path.is_file())
    if not paths:
        raise KeyFileError(f"{folder} holds no keystores (*.json); make some with `potchain contract wallets`")
    return tuple(Wallet(path=path, address=account_file_address(path)) for path in paths)
