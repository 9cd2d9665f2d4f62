"""`potchain account`: keys of accounts and what they hold."""

from __future__ import annotations

from pathlib import Path

import click

from potchain.cli.options import (
    ADDRESS,
    FILE,
    aligned,
    emit,
    json_option,
    password_from,
    password_option,
    shown_address,
    url_options,
)
from potchain.event_loop import run_async


@click.group()
def account() -> None:
    """Account keys (Web3 V3 keystores) and balances.

    \b
    Example:
      potchain account new alice.json
    """


@account.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@password_option
@json_option
def new(file: Path, password_file: Path | None, as_json: bool) -> None:
    """Make a key and write it, encrypted, to FILE; any Ethereum wallet can read it.

    \b
    Example:
      potchain account new alice.json --password-file alice.password
    """
    from potchain.crypto import SigningKey
    from potchain.keyfiles import create_account_file

    key = SigningKey.generate()
    create_account_file(file, key, password_from(password_file, confirm=True))
    address = shown_address(key.address)
    emit({"address": address, "file": str(file)}, as_json, [f"{address}  written to {file}"])


@account.command()
@click.argument("file", type=FILE)
@json_option
def show(file: Path, as_json: bool) -> None:
    """The address of a keystore; needs no password.

    \b
    Example:
      potchain account show alice.json
    """
    from potchain.keyfiles import account_file_address

    address = shown_address(account_file_address(file))
    emit({"address": address, "file": str(file)}, as_json, [address])


@account.command()
@click.argument("address", type=ADDRESS)
@url_options
@json_option
def balance(address: bytes, url: str, token: str, as_json: bool) -> None:
    """Balance and nonce of an address, as one node sees them.

    \b
    Example:
      potchain account balance 0x00000000000000000000000000000000000000A1
    """
    answer = run_async(_account(url, token, shown_address(address)))
    emit(answer, as_json, aligned(list(answer.items())))


async def _account(url: str, token: str, address: str) -> dict[str, object]:
    from potchain.client import NodeClient

    async with NodeClient(url, token=token, attempts_max=2) as node:
        return await node.get(f"/v1/accounts/{address}")
