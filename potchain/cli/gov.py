"""`potchain gov`: what operators decide together; propose, vote, look."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from potchain.cli.options import (
    ADDRESS,
    AMOUNT,
    FILE,
    HASH,
    UINT64,
    aligned,
    emit,
    json_option,
    url_options,
)
from potchain.cli.sending import report, send, send_options
from potchain.errors import CodecError
from potchain.event_loop import run_async
from potchain.primitives import ZERO_ADDRESS, uint256
from potchain.typed_data import JsonObject

if TYPE_CHECKING:
    from potchain.transactions import TransactionBody

F = TypeVar("F", bound=Callable[..., Any])

LIST_LIMIT = 20
FREE = "0: it is the duty of an operator"


@click.group()
def gov() -> None:
    """Governance: operators propose, a quorum of them decides.

    \b
    Example:
      potchain gov list
      potchain gov vote 0x6d0a... --yes --key operator.json   (66 characters)
    """


@gov.group()
def propose() -> None:
    """Propose something; the proposer votes yes by it.

    \b
    Example:
      potchain gov propose pause --key operator.json --wait
    """


def _owner_options(command: F) -> F:
    owners = click.option("--owner", "owners", type=ADDRESS, multiple=True, help="An owner; give it once for each.")
    threshold = click.option("--threshold", type=click.IntRange(min=1), help="How many owners must sign.")
    return owners(threshold(command))


@propose.command("bind-contract")
@click.option("--deployment", type=FILE, help="File of `potchain contract deploy`; of a Safe's book, add --owner, "
              "--threshold and --safe-nonce.")
@click.option("--scheme", type=click.Choice(["multisig", "safe"]), help="What owners sign [default: multisig].")
@click.option("--chain-id", type=UINT64, help="EIP-155 id of the contract's chain.")
@click.option("--contract", type=ADDRESS, help="The contract.")
@click.option("--safe", type=ADDRESS, help="The Safe that owns it, with --scheme safe.")
@click.option("--safe-nonce", type=UINT64, help="The Safe's nonce now, with --scheme safe [default: 0].")
@click.option("--from-block", type=UINT64, help="Block of the deployment.")
@_owner_options
@send_options(FREE)
def bind_contract(deployment: Path | None, as_json: bool, scheme: str | None, chain_id: int | None,
                  contract: bytes | None, safe: bytes | None, safe_nonce: int | None, from_block: int | None,
                  owners: tuple[bytes, ...], threshold: int | None, **sending: Any) -> int:  # noqa: ANN401
    """Settle through a contract that was deployed for this ledger and has done nothing yet.

    \b
    Example:
      potchain gov propose bind-contract --deployment deployment.json --key operator.json --wait
    """
    from potchain.application.governance.bodies import GovBindContract

    said = {} if deployment is None else _deployment(deployment)
    given = {"scheme": scheme, "chain_id": chain_id, "contract": contract, "safe": safe, "safe_nonce": safe_nonce,
             "from_block": from_block, "owners": _joined(owners) or None, "threshold": threshold}  # fmt: skip
    defaults: JsonObject = {"scheme": "multisig", "safe": ZERO_ADDRESS, "safe_nonce": 0}
    members = {**defaults, **said, **{name: value for name, value in given.items() if value is not None}}
    absent = [name for name in given if name not in members]
    if absent:
        wanted = ", ".join("--" + {"owners": "owner"}.get(name, name).replace("_", "-") for name in absent)
        raise click.UsageError(f"give {wanted}, or --deployment")
    return _propose(GovBindContract, members, as_json, sending)


@propose.command("set-parameter")
@click.argument("name")
@click.argument("value", type=AMOUNT)
@send_options(FREE)
def set_parameter(name: str, value: int, as_json: bool, **sending: Any) -> int:  # noqa: ANN401
    """Change a parameter of the network, or a term of settlement (settlement.NAME).

    \b
    Example:
      potchain gov propose set-parameter settlement.batch_max 200 --key operator.json --wait
      potchain gov propose set-parameter base_fee 20 --key operator.json --wait
    """
    from potchain.application.governance.bodies import GovSetParameter

    return _propose(GovSetParameter, {"key": name, "value": uint256(value)}, as_json, sending)


@propose.command("rotate-owners")
@_owner_options
@send_options(FREE)
def rotate_owners(
    owners: tuple[bytes, ...], threshold: int | None, as_json: bool, **sending: Any  # noqa: ANN401
) -> int:  # fmt: skip
    """Give the contract other owners; those of now sign that, the new ones what comes after.

    \b
    Example:
      potchain gov propose rotate-owners --owner 0x00000000000000000000000000000000000000A1 \\
        --owner 0x00000000000000000000000000000000000000A2 --threshold 2 --key operator.json --wait
    """
    from potchain.application.governance.bodies import GovRotateOwners

    if not owners or threshold is None:
        raise click.UsageError("give every owner with --owner, and --threshold")
    return _propose(GovRotateOwners, {"owners": _joined(owners), "threshold": threshold}, as_json, sending)


@propose.command()
@send_options(FREE)
def pause(as_json: bool, **sending: Any) -> int:  # noqa: ANN401
    """Form no batch any more, and pause the contract.

    \b
    Example:
      potchain gov propose pause --key operator.json --wait
    """
    from potchain.application.governance.bodies import GovPause

    return _propose(GovPause, {"paused": 1}, as_json, sending)


@propose.command()
@send_options(FREE)
def unpause(as_json: bool, **sending: Any) -> int:  # noqa: ANN401
    """Settle on, here and on the contract; also after the ledger has stopped by itself.

    \b
    Example:
      potchain gov propose unpause --key operator.json --wait
    """
    from potchain.application.governance.bodies import GovPause

    return _propose(GovPause, {"paused": 0}, as_json, sending)


@gov.command()
@click.argument("proposal", type=HASH)
@click.option("--yes/--no", "approve", default=None, help="The vote.")
@send_options(FREE)
def vote(proposal: str, approve: bool | None, as_json: bool, **sending: Any) -> int:  # noqa: ANN401
    """Vote on an open proposal, once.

    \b
    Example:
      potchain gov vote 0x6d0a... --yes --key operator.json --wait   (66 characters)
    """
    from potchain.application.governance.bodies import GovVote

    if approve is None:
        raise click.UsageError("say --yes or --no")
    members = {"proposal": bytes.fromhex(proposal[2:]), "approve": int(approve)}
    transaction_id, answer = send(GovVote, members, free=True, **sending)
    return report(answer, transaction_id, as_json, _decided(answer))


@gov.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=LIST_LIMIT, show_default=True, help="Newest proposals.")
@url_options
@json_option
def list_proposals(limit: int, url: str, token: str, as_json: bool) -> None:
    """Proposals, newest first: what they say, who voted, what became of them.

    \b
    Example:
      potchain gov list --limit 5
    """
    found = run_async(_proposals(url, token, limit))
    lines = [line for each in found for line in [*_proposal_lines(each), ""]]
    emit(found, as_json, lines[:-1] or ["no proposals"])


def _propose(kind: type[TransactionBody], members: JsonObject, as_json: bool, sending: JsonObject) -> int:
    transaction_id, answer = send(kind, members, free=True, **sending)
    hint = _decided(answer) or f"others vote: potchain gov vote {transaction_id} --yes --key KEYSTORE"
    return report(answer, transaction_id, as_json, hint)


def _decided(answer: JsonObject) -> str:
    """What the vote decided, when it was the last one."""
    for event in answer.get("events") or ():
        if event["kind"] == "GovApplied":
            return "accepted and done"
        if event["kind"] == "GovRejected":
            return f"rejected: {(event['fields'] or {}).get('reason')}"
    return ""


def _joined(owners: Sequence[bytes]) -> bytes:
    if len(set(owners)) != len(owners):
        raise click.UsageError("an owner is given twice")
    return b"".join(sorted(owners))


def _deployment(file: Path) -> JsonObject:
    """Members of a proposal out of a deployment file; who owns a Safe is not in it. Raises CodecError."""
    from potchain.crypto import parse_address

    try:
        document = json.loads(file.read_bytes())
        said = document["arguments"]
        members = {
            "scheme": _SCHEMES[document["kind"]],
            "chain_id": UINT64.convert(document["chain_id"], None, None),
            "contract": parse_address(document["address"]),
            "from_block": UINT64.convert(document["block_number"], None, None),
        }
        if members["scheme"] == "safe":
            return {**members, "safe": parse_address(said["safe"])}
        owners = _joined([parse_address(owner) for owner in said["owners"]])
        return {**members, "owners": owners, "threshold": int(said["threshold"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise CodecError(f"{file} is no deployment file of `potchain contract deploy`: {fault!r}") from None


_SCHEMES = {"multisig": "multisig", "safe-book": "safe"}
"""By the kind of a deployment."""


async def _proposals(url: str, token: str, limit: int) -> list[JsonObject]:
    from potchain.client import NodeClient

    async with NodeClient(url, token=token, attempts_max=2) as node:
        found: list[JsonObject] = (await node.get("/v1/governance/proposals", limit=limit))["proposals"]
        return found


def _proposal_lines(found: JsonObject) -> list[str]:
    lines = [f"{found['id']}  {found['kind']}  {_state(found)}"]
    message = found["message"] or {}
    pairs = [(f"  {name}", value) for name, value in message.items() if name not in _COMMON]
    if found["proposer"]:
        pairs.append(("  proposed by", f"{_shown(found['proposer'])} in block {found['height']}"))
    if found["status"] == "open":
        pairs += [(f"  {name}", ", ".join(map(_shown, found[key])) or "nobody") for name, key in _VOTES]
    return [*lines, *aligned(pairs)]


_COMMON = ("from", "nonce", "fee", "validUntil")
_VOTES = (("yes", "yes"), ("no", "no"), ("not yet", "missing"))


def _state(found: JsonObject) -> str:
    if found["status"] == "open":
        return f"open, {len(found['yes'])} of {found['quorum']} votes"
    reason = f" ({found['outcome']})" if found["outcome"] else ""
    return f"{found['status']} in block {found['decided_height']}{reason}"


def _shown(person: JsonObject) -> str:
    return str(person["name"] or person["address"])
