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
from potchain.crypto import checksum_address, parse_address
from potchain.errors import CodecError, ConfigError
from potchain.event_loop import run_async
from potchain.primitives import STORED_MAX, ZERO_ADDRESS, uint256
from potchain.typed_data import JsonObject

if TYPE_CHECKING:
    from potchain.transactions import TransactionBody

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

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
    foreign = click.option("--foreign-owners", is_flag=True, help="Also when too few owners are operators.")
    return owners(threshold(foreign(command)))


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
                  owners: tuple[bytes, ...], threshold: int | None, foreign_owners: bool,
                  **sending: Any) -> int:  # noqa: ANN401
    """Settle through a contract that was deployed for this ledger and has done nothing yet.

    Refused when too few of its owners are operators: only they sign what the ledger decides.

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
    if not foreign_owners:
        _refuse_strangers(members["owners"], members["threshold"], sending)
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
    owners: tuple[bytes, ...], threshold: int | None, foreign_owners: bool, as_json: bool,
    **sending: Any,  # noqa: ANN401
) -> int:  # fmt: skip
    """Give the contract other owners; those of now sign that, the new ones what comes after.

    Refused when too few of the new ones are operators: only they sign what the ledger decides.

    \b
    Example:
      potchain gov propose rotate-owners --owner 0x00000000000000000000000000000000000000A1 \\
        --owner 0x00000000000000000000000000000000000000A2 --threshold 2 --key operator.json --wait
    """
    from potchain.application.governance.bodies import GovRotateOwners

    if not owners or threshold is None:
        raise click.UsageError("give every owner with --owner, and --threshold")
    joined = _joined(owners)
    if not foreign_owners:
        _refuse_strangers(joined, threshold, sending)
    return _propose(GovRotateOwners, {"owners": joined, "threshold": threshold}, as_json, sending)


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


def _refuse_strangers(joined: bytes, threshold: int, sending: JsonObject) -> None:
    """Ask the node for the operators of the epoch. Raises ConfigError when fewer than `threshold` owners are some."""
    operators = run_async(_operators(sending["url"], sending["token"]))
    owners = [joined[at : at + 20] for at in range(0, len(joined), 20)]
    strangers = [checksum_address(owner) for owner in owners if owner not in operators]
    inside = len(owners) - len(strangers)
    if strangers and inside < threshold:
        raise ConfigError(
            f"{inside} of {len(owners)} owners are operators of this ledger, and {threshold} must sign: what it "
            f"decides would get too few signatures. No operators: {', '.join(strangers)}. Operators are the accounts "
            f"that genesis names (GET /v1/validators); --foreign-owners proposes it all the same"
        )


async def _operators(url: str, token: str) -> frozenset[bytes]:
    from potchain.client import NodeClient

    async with NodeClient(url, token=token, attempts_max=2) as node:
        found = await node.get("/v1/validators")
        return frozenset(parse_address(each["operator"]) for each in found["validators"])


def _deployment(file: Path) -> JsonObject:
    """Members of a proposal out of a deployment file; who owns a Safe is not in it. Raises CodecError."""
    try:
        return _deployed(json.loads(file.read_bytes()))
    except OSError as fault:
        reason = str(fault.strerror)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        reason = "it is not JSON"
    except ValueError as fault:
        reason = str(fault)
    raise CodecError(f"{file} is no deployment file of `potchain contract deploy`: {reason}")


def _deployed(document: object) -> JsonObject:
    members: JsonObject = {
        "scheme": _member(document, "kind", _scheme),
        "chain_id": _member(document, "chain_id", _stored),
        "contract": _member(document, "address", _address),
        "from_block": _member(document, "block_number", _stored),
    }
    if members["scheme"] == "safe":
        return {**members, "safe": _member(document, "arguments.safe", _address)}
    owners = _member(document, "arguments.owners", _owners)
    return {**members, "owners": owners, "threshold": _member(document, "arguments.threshold", _stored)}


def _member(document: object, path: str, read: Callable[[object], T]) -> T:
    """A member by its path. Raises ValueError that names it."""
    value = document
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            raise ValueError(f"it has no member {path!r}")
        value = value[name]
    try:
        return read(value)
    except ValueError as fault:
        raise ValueError(f"{path}: {_short(str(fault))}") from None


def _scheme(value: object) -> str:
    if not isinstance(value, str) or value not in _SCHEMES:
        raise ValueError(f"one of {', '.join(_SCHEMES)} is wanted, not {_short(repr(value))}")
    return _SCHEMES[value]


def _stored(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= STORED_MAX:
        raise ValueError(f"a number from 0 to {STORED_MAX} is wanted, not {_short(repr(value))}")
    return value


def _address(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"an address is wanted, not {_short(repr(value))}")
    return parse_address(value)


def _owners(value: object) -> bytes:
    if not isinstance(value, list) or not value:
        raise ValueError(f"a list of addresses is wanted, not {_short(repr(value))}")
    owners = list(map(_address, value))
    if len(set(owners)) != len(owners):
        raise ValueError("an owner stands twice")
    return _joined(owners)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "..."


SHOWN_MAX = 120
"""Characters of a wrong value that are shown."""

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
