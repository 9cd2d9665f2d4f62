"""`potchain tx`: sign transfers, send them, look transactions up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from potchain.cli.load import load
from potchain.cli.options import (
    ADDRESS,
    AMOUNT,
    FILE,
    HASH,
    UINT64,
    emit,
    json_option,
    key_options,
    password_from,
    url_options,
)
from potchain.cli.sending import report, send, send_options, transaction_lines, wire
from potchain.errors import CodecError, InvalidTransaction
from potchain.event_loop import run_async
from potchain.primitives import uint256
from potchain.typed_data import domain_json

if TYPE_CHECKING:
    from potchain.client import ChainInfo, NodeClient
    from potchain.crypto import SigningKey
    from potchain.transactions import Transaction
    from potchain.typed_data import JsonObject

F = TypeVar("F", bound=Callable[..., Any])

BASE_FEE_DEFAULT = 10
"""What `tx sign` offers when no fee is given: the base fee of default parameters."""


@click.group()
def tx() -> None:
    """Transactions: transfer, withdraw, sign offline, submit, show.

    \b
    Example:
      potchain tx transfer --key alice.json --to 0x00000000000000000000000000000000000000A1 --amount 5 --wait
    """


tx.add_command(load)


def transfer_options(command: F) -> F:
    """What a transfer is made of."""
    for option in (
        click.option("--memo", default="", help="Up to 64 bytes for the history: text, or 0x and hex digits."),
        click.option("--valid-until", type=UINT64, default=0, help="Last block time, Unix ms [default: no limit]."),
        click.option("--amount", type=AMOUNT, required=True, help="Base units."),
        click.option("--to", type=ADDRESS, required=True, help="Receiver."),
    ):
        command = option(command)
    return key_options(command)


@tx.command()
@transfer_options
@click.option("--fee", type=AMOUNT, default=None, help="Base units [default: the network's base fee].")
@click.option("--nonce", type=UINT64, default=None, help="[default: the account's next].")
@click.option("--wait", is_flag=True, help="Answer when it is final, with receipt and proof.")
@click.option("--timeout", default=30, show_default=True, type=click.IntRange(1, 60), help="Seconds, with --wait.")
@url_options
@json_option
def transfer(key: Path, password_file: Path | None, to: bytes, amount: int, fee: int | None, nonce: int | None,
             valid_until: int, memo: str, wait: bool, timeout: int, url: str, token: str, as_json: bool) -> int:
    """Sign a transfer here and send it to a node.

    \b
    Example:
      potchain tx transfer --key alice.json --to 0x00000000000000000000000000000000000000A1 --amount 5 --wait
    """
    from potchain.keyfiles import load_account_key

    memo_bytes = _memo(memo)
    signing_key = load_account_key(key, password_from(password_file))

    async def work() -> tuple[Transaction, JsonObject]:
        from potchain.client import NodeClient

        async with NodeClient(url, token=token) as node:
            chain = await node.chain()
            chosen = await node.next_nonce("0x" + signing_key.address.hex()) if nonce is None else nonce
            signed = _sign_transfer(
                signing_key, chain.genesis_hash, to, amount, chain.base_fee if fee is None else fee, chosen,
                valid_until, memo_bytes,
            )
            answer = await node.submit_one(wire(signed), wait="final" if wait else "", timeout_s=timeout)
            return signed, answer

    signed, answer = run_async(work())
    return report(answer, f"0x{signed.id.hex()}", as_json)


@tx.command()
@click.option("--amount", type=AMOUNT, required=True, help="Base units.")
@send_options("the network's base fee")
def withdraw(amount: int, as_json: bool, **sending: Any) -> int:  # noqa: ANN401 - options of `send`
    """Move an amount from the sender's balance to the same address on Layer 2.

    The ledger owes it from then on; `potchain settle payouts --account ADDRESS` says how far it is.

    \b
    Example:
      potchain tx withdraw --key alice.json --amount 5 --wait
    """
    from potchain.application.settlement.bodies import Withdraw

    transaction_id, answer = send(Withdraw, {"amount": uint256(amount)}, **sending)
    return report(answer, transaction_id, as_json)


@tx.command()
@transfer_options
@click.option("--genesis", required=True, type=FILE, help="Genesis file of the network.")
@click.option("--fee", type=AMOUNT, default=BASE_FEE_DEFAULT, show_default=True, help="Base units.")
@click.option("--nonce", type=UINT64, required=True, help="The account's next nonce.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; else standard output.")
@json_option
def sign(key: Path, password_file: Path | None, to: bytes, amount: int, fee: int, nonce: int, valid_until: int,
         memo: str, genesis: Path, out: Path | None, as_json: bool) -> None:
    """Sign a transfer offline; `tx submit` sends the file from another machine.

    \b
    Example:
      potchain tx sign --genesis genesis.json --key alice.json --nonce 0 \\
        --to 0x00000000000000000000000000000000000000A1 --amount 5 --out transfer.json
    """
    from potchain.genesis_file import parse_genesis
    from potchain.keyfiles import load_account_key

    parsed = parse_genesis(genesis.read_bytes(), str(genesis))
    memo_bytes = _memo(memo)
    signing_key = load_account_key(key, password_from(password_file))
    signed = _sign_transfer(signing_key, parsed.hash, to, amount, fee, nonce, valid_until, memo_bytes)
    document = {"id": "0x" + signed.id.hex(), "domain": domain_json(parsed.hash), **wire(signed)}
    if out is None:
        emit(document, True, [])
        return
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    emit(document, as_json, [f"{document['id']}  written to {out}"])


@tx.command()
@click.argument("file", type=FILE)
@click.option("--wait", is_flag=True, help="Answer when it is final, with receipt and proof.")
@click.option("--timeout", default=30, show_default=True, type=click.IntRange(1, 60), help="Seconds, with --wait.")
@url_options
@json_option
def submit(file: Path, wait: bool, timeout: int, url: str, token: str, as_json: bool) -> int:
    """Send a transaction that `tx sign`, or any wallet, has signed.

    \b
    Example:
      potchain tx submit transfer.json --wait
    """
    document = _document(file)
    stated = document.pop("id", None)

    async def work() -> JsonObject:
        from potchain.client import NodeClient

        async with NodeClient(url, token=token) as node:
            await _check_network(node, document, file)
            return await node.submit_one(document, wait="final" if wait else "", timeout_s=timeout)

    answer = run_async(work())
    if stated is not None and answer.get("id") != stated:
        raise CodecError(f"{file} states id {stated}, but the node has it as {answer.get('id')}: the file was changed")
    return report(answer, str(answer.get("id")), as_json)


@tx.command()
@click.argument("id", type=HASH)
@url_options
@json_option
def show(id: str, url: str, token: str, as_json: bool) -> None:
    """State of a transaction: in the pool, executed and in which block, or dropped and why.

    \b
    Example:
      potchain tx show 0x6d0a...   (66 characters)
    """
    answer = run_async(_get(url, token, f"/v1/transactions/{id}"))
    emit(answer, as_json, transaction_lines(answer))


@tx.command()
@click.argument("id", type=HASH)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; else standard output.")
@url_options
@json_option
def proof(id: str, out: Path | None, url: str, token: str, as_json: bool) -> None:
    """Fetch the proof of a final transaction; `potchain verify` checks it offline.

    \b
    Example:
      potchain tx proof 0x6d0a... --out proof.json   (66 characters)
    """
    answer = run_async(_get(url, token, f"/v1/transactions/{id}/proof"))
    if out is None:
        emit(answer, True, [])
        return
    out.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    emit({"id": id, "file": str(out)}, as_json, [f"written to {out}; check it: potchain verify {out} --genesis FILE"])


async def _get(url: str, token: str, path: str) -> JsonObject:
    from potchain.client import NodeClient

    async with NodeClient(url, token=token, attempts_max=2) as node:
        return await node.get(path)


def _sign_transfer(
    key: SigningKey, genesis_hash: bytes, to: bytes, amount: int, fee: int, nonce: int, valid_until: int, memo: bytes
) -> Transaction:
    from potchain.transactions import TransactionTypes, Transfer

    body = Transfer(
        from_=key.address, nonce=nonce, fee=uint256(fee), valid_until=valid_until, to=to, amount=uint256(amount),
        memo=memo,
    )
    return TransactionTypes([Transfer], genesis_hash).sign(body, key)


def _memo(text: str) -> bytes:
    from potchain.transactions import MEMO_BYTES_MAX

    try:
        memo = bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()
    except ValueError:
        raise click.BadParameter(f"--memo {text!r} begins with 0x but is no hex") from None
    if len(memo) > MEMO_BYTES_MAX:
        raise click.BadParameter(f"--memo has {len(memo)} bytes, at most {MEMO_BYTES_MAX} are allowed")
    return memo


def _document(file: Path) -> JsonObject:
    try:
        document = json.loads(file.read_bytes())
    except ValueError as fault:
        raise CodecError(f"{file} is not JSON: {fault}") from None
    if not isinstance(document, dict):
        raise CodecError(f"{file} must hold one JSON object with kind, message and signature")
    return document


async def _check_network(node: NodeClient, document: JsonObject, file: Path) -> None:
    domain = document.get("domain")
    if not isinstance(domain, dict):
        return
    chain: ChainInfo = await node.chain()
    ours = "0x" + chain.genesis_hash.hex()
    if domain.get("salt") != ours:
        raise InvalidTransaction(
            "wrong_chain", f"{file} is signed for the network {domain.get('salt')}, this node is of {ours}"
        )
