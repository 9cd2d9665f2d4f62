"""Options, parameter types and output that many commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from potchain.crypto import checksum_address, parse_address
from potchain.errors import KeyFileError
from potchain.primitives import STORED_MAX, UINT256_MAX
from potchain.typed_data import JsonObject

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

URL_DEFAULT = "http://127.0.0.1:8080"
PASSWORD_VARIABLE = "POTCHAIN_KEY_PASSWORD"

AMOUNT = click.IntRange(min=0, max=UINT256_MAX)
"""Base units."""
UINT64 = click.IntRange(min=0, max=STORED_MAX)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class AddressType(click.ParamType):  # type: ignore[type-arg]
    """An Ethereum address; mixed case must be its EIP-55 form."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """20 bytes."""
        if isinstance(value, bytes):
            return value
        try:
            return parse_address(str(value))
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


class HashType(click.ParamType):  # type: ignore[type-arg]
    """32 bytes as 0x and 64 hex digits; kept as text."""

    name = "hash"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text in lower case."""
        text = str(value).lower()
        if len(text) != 66 or not text.startswith("0x") or set(text[2:]) - set("0123456789abcdef"):
            self.fail(f"0x and 64 hex digits are wanted, not {value!r}", param, ctx)
        return text


ADDRESS = AddressType()
HASH = HashType()


def json_option(command: F) -> F:
    """--json"""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")(command)


def url_options(command: F) -> F:
    """--url and --token"""
    url = click.option(
        "--url", default=URL_DEFAULT, show_default=True, envvar="POTCHAIN_URL", help="HTTP address of a node."
    )
    token = click.option("--token", default="", envvar="POTCHAIN_TOKEN", help="Bearer token of the node's API.")
    return url(token(command))


def key_options(command: F) -> F:
    """--key and --password-file"""
    key = click.option("--key", required=True, type=FILE, help="Web3 V3 keystore of the sender.")
    return key(password_option(command))


def password_option(command: F) -> F:
    """--password-file"""
    return click.option(
        "--password-file", type=FILE, help=f"File with the password; else {PASSWORD_VARIABLE}, else a prompt."
    )(command)


def password_from(password_file: Path | None, *, confirm: bool = False) -> str:
    """The password: from the file (its last line break does not count), else the environment, else a prompt."""
    import os

    if password_file is not None:
        try:
            return password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as fault:
            raise KeyFileError(f"cannot read the password file {password_file}: {fault}") from None
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    entered: str = click.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True)
    return entered


def emit(document: JsonObject | list[JsonObject], as_json: bool, lines: Sequence[str]) -> None:
    """Print the JSON document, or the lines for people."""
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        for line in lines:
            click.echo(line)


def aligned(pairs: Sequence[tuple[str, object]]) -> list[str]:
    """Lines with names on the left and values in one column."""
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name:<{width}}  {value}" for name, value in pairs]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a plain table; columns of numbers are aligned to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(header), *texts]) for column in range(len(header))]
    numeric = [all(isinstance(row[column], int | float) for row in rows) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in [list(header), *texts]
    ]


def shown_address(address: bytes) -> str:
    """EIP-55 form."""
    return checksum_address(address)
