"""Signs a transaction of any kind, sends it, and says what became of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from potchain.cli.options import AMOUNT, UINT64, aligned, emit, json_option, key_options, password_from, url_options
from potchain.cli.program import EXIT_FAILED, EXIT_OK
from potchain.event_loop import run_async
from potchain.primitives import uint256
from potchain.typed_data import struct_to_json

if TYPE_CHECKING:
    from potchain.transactions import Transaction, TransactionBody
    from potchain.typed_data import JsonObject

F = TypeVar("F", bound=Callable[..., Any])


def send_options(fee: str) -> Callable[[F], F]:
    """Key, fee, nonce, waiting, node and form of the answer; `fee` says what the default is."""

    def decorate(command: F) -> F:
        wait = click.option("--wait", is_flag=True, help="Answer when it is final, with receipt and proof.")
        timeout = click.option(
            "--timeout", default=30, show_default=True, type=click.IntRange(1, 60), help="Seconds, with --wait."
        )
        given = click.option("--fee", type=AMOUNT, default=None, help=f"Base units [default: {fee}].")
        nonce = click.option("--nonce", type=UINT64, default=None, help="[default: the account's next].")
        return key_options(given(nonce(wait(timeout(url_options(json_option(command)))))))

    return decorate


def send(
    kind: type[TransactionBody],
    members: dict[str, Any],
    *,
    key: Path,
    password_file: Path | None,
    fee: int | None,
    nonce: int | None,
    wait: bool,
    timeout: int,
    url: str,
    token: str,
    free: bool = False,
) -> tuple[str, JsonObject]:
    """Sign a body with these members and submit it: its id and the node's answer. `free`: the default fee is 0."""
    from potchain.keyfiles import load_account_key
    from potchain.transactions import TransactionTypes

    signing_key = load_account_key(key, password_from(password_file))

    async def work() -> tuple[str, JsonObject]:
        from potchain.client import NodeClient

        async with NodeClient(url, token=token) as node:
            chain = await node.chain()
            chosen = await node.next_nonce("0x" + signing_key.address.hex()) if nonce is None else nonce
            offered = (0 if free else chain.base_fee) if fee is None else fee
            body = kind(from_=signing_key.address, nonce=chosen, fee=uint256(offered), valid_until=0, **members)
            signed = TransactionTypes([kind], chain.genesis_hash).sign(body, signing_key)
            answer = await node.submit_one(wire(signed), wait="final" if wait else "", timeout_s=timeout)
            return "0x" + signed.id.hex(), answer

    return run_async(work())


def wire(signed: Transaction) -> JsonObject:
    """The body of `POST /v1/transactions`."""
    return {
        "kind": signed.kind,
        "message": struct_to_json(signed.body),
        "signature": "0x" + signed.signature.hex(),
    }


def report(answer: JsonObject, transaction_id: str, as_json: bool, hint: str = "") -> int:
    """Print what became of a submission; 1 when it took its place but its action failed. `hint`: a line more."""
    if "receipt" not in answer:
        lines = [f"{transaction_id}  {answer.get('status', 'accepted')}; ask: potchain tx show"]
        emit(answer, as_json, [*lines, hint] if hint else lines)
        return EXIT_OK
    receipt = answer["receipt"] or {}
    done = receipt.get("status") == "ok"
    emit(answer, as_json, [*transaction_lines(answer), hint] if hint and done else transaction_lines(answer))
    return EXIT_OK if done else EXIT_FAILED


def transaction_lines(answer: JsonObject) -> list[str]:
    """A transaction as the node tells it."""
    block, receipt = answer.get("block") or {}, answer.get("receipt") or {}
    pairs: list[tuple[str, object]] = [("id", answer.get("id")), ("state", answer.get("state"))]
    if block:
        pairs += [("final", "yes" if answer.get("certified") else "not yet"), ("block", block.get("height"))]
        pairs += [("index", answer.get("index")), ("result", receipt.get("code") or receipt.get("status"))]
        pairs.append(("fee", receipt.get("fee")))
    if answer.get("reason"):
        pairs.append(("reason", f"{answer.get('code')}: {answer['reason']}"))
    for name, value in (answer.get("message") or {}).items():
        pairs.append((f"  {name}", value))
    return aligned(pairs)
