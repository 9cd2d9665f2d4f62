"""Lists of addresses as operators write them: addresses, folders of keystores, a keystore, a file with a line each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from potchain import ConfigError, checksum_address, parse_address
from potchain.commands import account_file_address
from potchain_multisig.operator.wallets import read_wallets

LIST_BYTES_MAX: Final = 1 << 20
OWNERS_MAX: Final = 255
"""Owners that the contract accepts."""
COMPATIBLE_OWNERS_MAX: Final = 208
"""Owners that fit the bitmap of confirmations of the compatible path."""


def read_addresses(sources: Iterable[str]) -> tuple[bytes, ...]:
    """Every address of the sources, in their order. Raises ConfigError naming the source and line at fault."""
    found: list[bytes] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found += [wallet.address for wallet in read_wallets(path)]
        elif path.is_file():
            found += _addresses_of_file(path)
        else:
            found += [_parsed(word, "") for word in source.split(",") if word]
    return tuple(found)


def owner_set(sources: Iterable[str], threshold: int, *, compatible: bool) -> tuple[bytes, ...]:
    """Owners for the constructor, sorted. Raises ConfigError: none, too many, zero, twice; a threshold above them."""
    owners = read_addresses(sources)
    most = COMPATIBLE_OWNERS_MAX if compatible else OWNERS_MAX
    if not 1 <= len(owners) <= most:
        where = " on its compatible path" if compatible else ""
        raise ConfigError(f"{len(owners)} owners; the contract takes 1 to {most}{where}")
    seen: set[bytes] = set()
    for owner in owners:
        if owner == bytes(20):
            raise ConfigError("the zero address can be no owner")
        if owner in seen:
            raise ConfigError(f"owner {checksum_address(owner)} is named twice")
        seen.add(owner)
    if not 1 <= threshold <= len(owners):
        raise ConfigError(f"a threshold of {threshold} with {len(owners)} owners; it must be 1 to {len(owners)}")
    return tuple(sorted(owners))


def _addresses_of_file(path: Path) -> list[bytes]:
    if path.stat().st_size > LIST_BYTES_MAX:
        raise ConfigError(f"{path} has more than {LIST_BYTES_MAX} bytes; it is no list of addresses")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text; a list has one address a line") from None
    if text.lstrip().startswith("{"):
        return [account_file_address(path)]
    lines = ((number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), start=1))
    found = [_parsed(word, f"{path}, line {number}: ") for number, word in lines if word]
    if not found:
        raise ConfigError(f"{path} names no address; write one a line")
    return found


def _parsed(word: str, place: str) -> bytes:
    try:
        return parse_address(word)
    except ValueError as fault:
        raise ConfigError(f"{place}{fault}" + ("" if place else "; no file or folder has that name either")) from None
