"""`potchain contract info|propose|confirm|execute|deposit|pause|gas`: commands on a contract that is there."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from potchain import checksum_address
from potchain.commands import (
    ADDRESS,
    EXIT_FAILED,
    EXIT_OK,
    aligned,
    emit,
    json_option,
    table,
)
from potchain_multisig.operator.calling import Info
from potchain_multisig.operator.contract_call import Call
from potchain_multisig.operator.session import (
    COINS,
    INDEX,
    ContractChoice,
    NetworkChoice,
    SendingChoice,
    contract_options,
    network_options,
    sending_options,
)

FOREVER_S = 1 << 39
"""A pause that ends later than this was meant until further notice."""


@click.command()
@click.option("--account", type=ADDRESS, help="Tell also what this account has been credited.")
@contract_options
@network_options
@json_option
def info(account: bytes | None, chosen: ContractChoice, at: NetworkChoice, as_json: bool) -> int:
    """What the contract says of itself, compared with this version's code and the deployment file.

    \b
    Example:
      potchain contract info --network bsc:testnet --deployment deployment.json
    """
    contract, deployment = chosen.open(at.open())
    found = contract.info()
    differences = () if deployment is None else contract.differences(found, deployment)
    document: dict[str, Any] = msgspec.to_builtins(found)
    for name in ("deposited", "allocated", "balance"):
        document[name] = str(document[name])
    document["differences"] = list(differences)
    lines = _info_lines(found)
    if account is not None:
        credited = contract.rewards(account)
        document["account"] = {"address": checksum_address(account), "rewards": str(credited)}
        lines += aligned([(f"rewards of {checksum_address(account)}", f"{credited:,} base units")])
    lines += [f"DIFFERS: {each}" for each in differences]
    emit(document, as_json, lines)
    return EXIT_FAILED if differences else EXIT_OK


def _info_lines(found: Info) -> list[str]:
    pause = "no"
    if found.paused:
        pause = "until further notice" if found.paused_until >= FOREVER_S else f"until Unix time {found.paused_until}"
    shown: list[tuple[str, object]] = [
        ("contract", f"{found.contract} at {found.address}"),
        ("network", f"{found.network}, chain id {found.chain_id}, block {found.block_number}"),
        ("owners", f"{len(found.owners)}, of which {found.threshold} must sign, epoch {found.epoch}"),
        ("next nonce", found.next_nonce),
        ("next event nonce", found.next_event_nonce),
        ("deposited", f"{found.deposited:,}"),
        ("allocated", f"{found.allocated:,}"),
        ("balance", f"{found.balance:,}"),
        ("paused", pause),
    ]
    if found.contract == "PotBook":
        shown[2] = ("Safe", found.owners[0])
    elif found.compatible:
        shown.append(("compatible path", "open"))
    if int(found.token, 16):
        shown.append(("token", found.token))
    return aligned(shown)


@click.command()
@click.option("--to", required=True, type=ADDRESS, help="Who shall be credited.")
@click.option("--amount", required=True, type=COINS, help="Reward, in base units, or such as 0.5ether.")
@contract_options
@network_options
@sending_options(key_help="Web3 V3 keystore of an owner.")
@json_option
def propose(to: bytes, amount: int, chosen: ContractChoice, at: NetworkChoice, sending: SendingChoice,
            as_json: bool) -> None:
    """As an owner, propose a payment on the compatible path; prints its index.

    \b
    Example:
      potchain contract propose --to 0x00000000000000000000000000000000000000A1 --amount 5gwei --key wallet-01.json
    """
    call = Call(chosen, at, sending)
    plan = call.plan("propose", "proposeTransaction(address,uint256)", to, amount)
    done = call.carry_out(plan, as_json)
    if done is None:
        return
    index: int = done.value("TransactionProposed", "txIndex")
    call.tell_payment(done, call.contract.payment(index), as_json)


@click.command()
@click.option("--index", required=True, type=INDEX, help="Of the payment, as `propose` printed it.")
@contract_options
@network_options
@sending_options(key_help="Web3 V3 keystore of an owner.")
@json_option
def confirm(index: int, chosen: ContractChoice, at: NetworkChoice, sending: SendingChoice, as_json: bool) -> None:
    """As an owner, confirm a payment; the confirmation that reaches the threshold credits it.

    \b
    Example:
      potchain contract confirm --index 0xA1000000000000000000000005 --key owners/wallet-02.json
    """
    call = Call(chosen, at, sending)
    done = call.carry_out(call.plan("confirm", "confirmTransaction(uint256)", index), as_json)
    if done is not None:
        call.tell_payment(done, call.contract.payment(index), as_json)


@click.command()
@click.option("--index", required=True, type=INDEX, help="Of the payment, as `propose` printed it.")
@contract_options
@network_options
@sending_options()
@json_option
def execute(index: int, chosen: ContractChoice, at: NetworkChoice, sending: SendingChoice, as_json: bool) -> None:
    """Credit a confirmed payment that could not be credited with its last confirmation; anybody may.

    \b
    Example:
      potchain contract execute --index 0xA1000000000000000000000005 --key funder.json
    """
    call = Call(chosen, at, sending)
    done = call.carry_out(call.plan("execute", "executeTransaction(uint256)", index), as_json)
    if done is not None:
        call.tell_payment(done, call.contract.payment(index), as_json)


@click.command()
@click.option("--amount", required=True, type=COINS, help="Base units, or such as 0.5ether.")
@click.option("--account", type=ADDRESS, help="Account on the ledger to credit [default: the sender's].")
@contract_options
@network_options
@sending_options()
@json_option
def deposit(amount: int, account: bytes | None, chosen: ContractChoice, at: NetworkChoice, sending: SendingChoice,
            as_json: bool) -> None:
    """Pay into the contract for an account on the ledger. Of a token, so much is approved for the contract first.

    \b
    Example:
      potchain contract deposit --amount 1ether --key funder.json
    """
    call = Call(chosen, at, sending)
    receiver = call.sender.address if account is None else account
    token: bytes = call.contract.read("token()")
    if token == bytes(20):
        plan = call.plan("deposit", "deposit(address)", receiver, value_wei=amount)
    else:
        approval = call.contract.approval(call.sender, token, amount)
        if approval is not None and call.carry_out(approval, as_json) is None:
            return  # a dry run: the deposit can be simulated once the approval is there
        plan = call.plan("deposit", "depositToken(address,uint256)", receiver, amount)
    done = call.carry_out(plan, as_json)
    if done is None:
        return
    number: int = done.value("Deposit", "eventNonce")
    received: int = done.value("Deposit", "amount")
    document = done.document() | {
        "event_nonce": number, "account": checksum_address(receiver), "amount": str(received)
    }  # fmt: skip
    shown = [("deposited", f"{received:,} base units for {checksum_address(receiver)}"), ("event nonce", number)]
    emit(document, as_json, aligned([*shown, *done.pairs()]))


@click.command()
@contract_options
@network_options
@sending_options(key_help="Web3 V3 keystore of an owner.")
@json_option
def pause(chosen: ContractChoice, at: NetworkChoice, sending: SendingChoice, as_json: bool) -> None:
    """As one owner, stop deposits and payouts for a day; again only a week later. Withdrawals go on.

    \b
    Example:
      potchain contract pause --key owners/wallet-00.json
    """
    call = Call(chosen, at, sending)
    done = call.carry_out(call.plan("pause", "pauseByOwner()"), as_json)
    if done is None:
        return
    until: int = done.value("OwnerPaused", "until")
    emit(done.document() | {"until": until}, as_json, aligned([("paused until", f"Unix {until}"), *done.pairs()]))


@click.command()
@json_option
def gas(as_json: bool) -> None:
    """Deploy on a fresh local chain, pay rewards in every way, and print the gas beside the seed's.

    \b
    Example:
      potchain contract gas
    """
    from potchain_multisig.operator.gas_report import SEED_ROWS, measure
    from potchain_multisig.operator.session import say

    rows = measure(say)
    document = [msgspec.to_builtins(row) for row in rows]
    seed = [[row.what, f"{row.gas:,}", row.times] for row in SEED_ROWS]
    ours = [[row.what, _figure(row.seed), _figure(row.gas), _figure(row.allowed)] for row in rows]
    lines = ["the seed's table, per function:", *table(["function", "gas", "times per reward"], seed), "",
             "measured here:", *table(["", "seed", "ours", "promised at most"], ours)]  # fmt: skip
    emit({"rows": document}, as_json, lines)


def add_to(group: click.Group) -> None:
    """Hang the commands of this room under a group."""
    for command in (info, propose, confirm, execute, deposit, pause, gas):
        group.add_command(command)


def _figure(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
