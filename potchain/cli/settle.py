"""`potchain settle`: what the ledger owes on Layer 2, and how far that is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from potchain.cli.options import ADDRESS, aligned, emit, json_option, shown_address, table, url_options
from potchain.event_loop import run_async
from potchain.typed_data import JsonObject

WATCH_S = 2.0
"""Default time between two looks."""

binding_option = click.option(
    "--binding", type=click.IntRange(min=1), help="Number of the contract [default: the bound one]."
)


@click.group()
def settle() -> None:
    """Settlement on Layer 2: what is owed, what is under way, what is in the way.

    \b
    Example:
      potchain settle status --watch
      potchain settle explain 7
    """


@settle.command()
@click.option("--watch", is_flag=True, help="Look again and again, until interrupted.")
@click.option("--every", type=click.FloatRange(0.1, 3600), default=WATCH_S, show_default=True,
              help="Seconds, with --watch.")
@url_options
@json_option
def status(watch: bool, every: float, url: str, token: str, as_json: bool) -> None:
    """The whole picture, as one node has it.

    \b
    Example:
      potchain settle status --url http://127.0.0.1:8080
    """
    while True:
        found = run_async(_get(url, token, "/v1/settlement"))
        if watch and not as_json:
            click.clear()
        emit(found, as_json, _picture(found))
        if not watch:
            return
        time.sleep(every)


@settle.command()
@click.argument("batch", type=click.IntRange(min=0))
@binding_option
@url_options
@json_option
def explain(batch: int, binding: int | None, url: str, token: str, as_json: bool) -> None:
    """Everything about one batch, or another action, by its nonce.

    \b
    Example:
      potchain settle explain 7
    """
    query = {} if binding is None else {"binding": binding}
    found = run_async(_get(url, token, f"/v1/settlement/actions/{batch}", **query))
    lines: list[str] = list(found["text"])
    if found["entries"]:
        rows = [(entry["account"], entry["amount"]) for entry in found["entries"]]
        lines += ["", *table(("account", "amount"), rows)]
    emit(found, as_json, lines)


@settle.command()
@click.option("--account", type=ADDRESS, help="Only those of this account.")
@click.option("--status", "state", type=click.Choice(["pending", "batched", "paid"]),
              help="Only those that are this far.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="Newest payouts.")
@url_options
@json_option
def payouts(account: bytes | None, state: str | None, limit: int, url: str, token: str, as_json: bool) -> None:
    """What the ledger owes and owed, newest first.

    \b
    Example:
      potchain settle payouts --status pending
      potchain settle payouts --account 0x00000000000000000000000000000000000000A1
    """
    query: dict[str, str | int] = {"limit": limit}
    if account is not None:
        query["account"] = shown_address(account)
    if state is not None:
        query["status"] = state
    found = run_async(_get(url, token, "/v1/payouts", **query))
    rows = [
        (each["id"], each["status"], each["account"], each["amount"], each["kind"], each["height"], _paid_by(each))
        for each in found["payouts"]
    ]
    header = ("id", "status", "account", "amount", "kind", "block", "paid by")
    emit(found["payouts"], as_json, table(header, rows) if rows else ["no payouts"])


@settle.command("claim-proof")
@click.argument("address", type=ADDRESS)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; else standard output.")
@binding_option
@url_options
@json_option
def claim_proof(address: bytes, out: Path | None, binding: int | None, url: str, token: str, as_json: bool) -> None:
    """The arguments of the contract's `claim`, for what Merkle roots promised an account; anybody may send them.

    \b
    Example:
      potchain settle claim-proof 0x00000000000000000000000000000000000000A1 --out claim.json
    """
    query = {} if binding is None else {"binding": binding}
    found = run_async(_get(url, token, f"/v1/settlement/claims/{shown_address(address)}", **query))
    if out is None:
        emit(found, True, [])
        return
    out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    line = (
        f"{_base_units(found['cumulative'])} in all by contract {found['contract']}; claim(account, cumulative, proof) "
        f"written to {out}"
    )
    emit({"account": found["account"], "file": str(out)}, as_json, [line])


async def _get(url: str, token: str, path: str, **query: str | int) -> JsonObject:
    from potchain.client import NodeClient

    async with NodeClient(url, token=token, attempts_max=2) as node:
        return await node.get(path, **query)


def _paid_by(payout: JsonObject) -> str:
    if payout["action"] is None:
        return "-"
    sent = payout["transaction_hash"]
    return f"action {payout['action']}" + (f" {sent}" if sent else "")


def _picture(found: JsonObject) -> list[str]:
    """The document of /v1/settlement for people."""
    settler = found["settler"]
    lines = aligned(
        [
            *_contract(found),
            *[(name, _sum(each)) for name, each in found["payouts"].items()],
            ("deposits", _deposits(found)),
            *_layer2(found),
            *_node(settler),
        ]
    )
    if found["paused"]:
        lines.append("PAUSED by governance: no batch is formed and no withdrawal taken; to go on: potchain gov propose")
        lines[-1] += " unpause"
    if found["halted"]:
        lines.append("HALTED: the contract did what the ledger had not asked for; see `SELECT * FROM v_layer2_events")
        lines[-1] += " WHERE mismatch IS NOT NULL`. If it is the wrong contract, or was used before, bind another and"
        lines[-1] += " do not unpause; only if it is sound: potchain gov propose unpause"
    if settler["contract_paused"]:
        lines.append("the contract is paused")
    lines += _warnings(found)
    lines += _fault(settler["fault"])
    lines += [f"note: {note}" for note in settler["notes"]]
    for action in found["actions"]:
        lines += ["", *[line if not at else f"  {line}" for at, line in enumerate(action["text"])]]
    return lines


def _warnings(found: JsonObject) -> list[str]:
    """What operators should change before it costs them something."""
    lines = []
    if found["contract"] is not None and found["terms"]["minimum_withdrawal"] == "1":
        lines.append("withdrawals of 1 base unit are taken, and each batch costs the relayer gas; see")
        lines[-1] += " settlement.minimum_withdrawal"
    newest: JsonObject = found["owners"][-1] if found["owners"] else {"owners": [], "threshold": 0}
    operators = sum(each["name"] is not None for each in newest["owners"])
    if operators < newest["threshold"]:
        be = "is an operator" if operators == 1 else "are operators"
        lines.append(f"only {operators} of {_plural(len(newest['owners']), 'owner')} (epoch {newest['epoch']}) {be}")
        lines[-1] += f" of this ledger, and {newest['threshold']} must sign: what it decides may get too few signatures"
    return lines


def _contract(found: JsonObject) -> list[tuple[str, object]]:
    contract = found["contract"]
    if contract is None:
        return [("contract", "none is bound: withdrawals are refused, and what is owed stays on the books")]
    of_safe = f", owned by Safe {contract['safe']}" if contract["safe"] else ""
    shown = f"{contract['address']} ({contract['scheme']}{of_safe}) on chain {contract['chain_id']}"
    pairs: list[tuple[str, object]] = [("contract", shown)]
    for owners in found["owners"]:
        names = ", ".join(str(each["name"] or each["address"]) for each in owners["owners"])
        pairs.append(
            ("owners", f"{owners['threshold']} of {len(owners['owners'])} sign (epoch {owners['epoch']}): {names}")
        )
    return pairs


def _deposits(found: JsonObject) -> str:
    credited = f"{_base_units(found['credited'])} credited"
    if found["contract"] is None:
        return credited
    if found["uncovered"] != "0":
        wait = "waits" if found["uncovered"] == "1" else "wait"
        return f"{credited}; {_number(found['uncovered'])} of what is owed {wait} for a deposit"
    return f"{credited}, {_number(found['withdrawable'])} can be withdrawn"


def _layer2(found: JsonObject) -> list[tuple[str, object]]:
    settler = found["settler"]
    if settler["head_number"] is None:
        return []
    missing = settler["events_behind"]
    behind = f"{_plural(missing, 'event')} not applied" if missing else "no event missing"
    pairs: list[tuple[str, object]] = [
        ("layer 2", f"block {settler['head_number']}, confirmed up to {settler['confirmed_number']}, {behind}"),
        ("nonces", f"the contract executes {settler['next_nonce']} next, the ledger forms {found['next_action']} next"),
    ]
    if settler["funds"] is not None:
        be = "is" if settler["funds"] == "1" else "are"
        pairs.append(("funds", f"{_base_units(settler['funds'])} in the contract {be} not allocated"))
    if settler["reorg_text"]:
        pairs.append(("reorgs", f"{settler['reorgs']} since the start; the last: {settler['reorg_text']}"))
    return pairs


def _node(settler: JsonObject) -> list[tuple[str, object]]:
    roles = [f"signs as {settler['operator']}"] if settler["operator"] else ["signs nothing"]
    roles.append(f"relays as {settler['relay_account']}" if settler["relay_account"] else "relays nothing")
    return [("this node", f"{settler['state']} (back end {settler['backend']}); {', '.join(roles)}")]


def _fault(fault: JsonObject | None) -> list[str]:
    if fault is None:
        return []
    lines = [f"fault: {fault['code']}: {fault['text']}"]
    lines += [f"  {fault['meaning']}"] if fault["meaning"] else []
    return [*lines, f"  what to do: {fault['remedy']}"] if fault["remedy"] else lines


def _sum(payouts: JsonObject) -> str:
    return f"{_plural(payouts['count'], 'payout')}, {_base_units(payouts['total'])}"


def _base_units(amount: int | str) -> str:
    return _plural(amount, "base unit")


def _plural(count: int | str, word: str) -> str:
    return f"{_number(count)} {word}" if int(count) == 1 else f"{_number(count)} {word}s"


def _number(value: int | str) -> str:
    return f"{int(value):,}"
