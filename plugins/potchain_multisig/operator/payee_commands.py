"""`potchain contract claim|withdraw`: what a payee does.

A batch credits its payees itself. A Merkle root only promises: each payee, or somebody for it, brings the branch to its
leaf, which `potchain settle claim-proof` writes to a file. Then it is credited, and can be withdrawn.
"""

from __future__ import annotations

from pathlib import Path

import click

from potchain import SettlementError, checksum_address
from potchain.commands import FILE, aligned, emit, json_option
from potchain_multisig.operator.claim_file import read_claim
from potchain_multisig.operator.contract_call import Call
from potchain_multisig.operator.sending import Plan
from potchain_multisig.operator.session import (
    COINS,
    ContractChoice,
    NetworkChoice,
    SendingChoice,
    contract_options,
    network_options,
    sending_options,
)


@click.command()
@click.option("--proof", required=True, type=FILE, help="File that `potchain settle claim-proof ADDRESS --out` wrote.")
@contract_options
@network_options
@sending_options(key_help="Web3 V3 keystore of whoever pays for the gas; credited is the account in the proof.")
@json_option
def claim(proof: Path, chosen: ContractChoice, at: NetworkChoice, sending: SendingChoice, as_json: bool) -> None:
    """Have the contract credit what Merkle roots promised to an account; anybody may. Not while it is paused.

    \b
    Example:
      potchain settle claim-proof 0x00000000000000000000000000000000000000A1 --out claim.json
      potchain contract claim --proof claim.json --key provider.json
      potchain contract withdraw --key provider.json
    """
    found = read_claim(proof)
    call = Call(chosen, at, sending)
    if found.chain_id != call.network.chain_id:
        raise SettlementError(
            "wrong_chain",
            f"{proof} is of chain id {found.chain_id}, and {call.network.name} is {call.network.chain_id}; choose with "
            f"--network",
        )
    if found.contract != call.contract.address:
        raise SettlementError(
            "wrong_contract",
            f"{proof} is for contract {checksum_address(found.contract)}, and this is "
            f"{checksum_address(call.contract.address)}; choose with --deployment or --contract",
        )
    plan = _plan(call, found.account, found.cumulative, found.branch)
    done = call.carry_out(plan, as_json)
    if done is None:
        return
    claimed: int = done.value("Claimed", "amount")
    held = call.contract.rewards(found.account)
    account = checksum_address(found.account)
    document = done.document() | {"account": account, "amount": str(claimed), "rewards": str(held)}
    shown: list[tuple[str, object]] = [
        ("claimed", f"{claimed:,} base units for {account}"),
        ("to withdraw", f"{held:,}"),
    ]
    emit(document, as_json, aligned([*shown, *done.pairs()]))


def _plan(call: Call, account: bytes, cumulative: int, branch: tuple[bytes, ...]) -> Plan:
    try:
        return call.plan("claim", "claim(address,uint256,bytes32[])", account, cumulative, list(branch))
    except SettlementError as fault:
        for name, words in REFUSALS:
            if name in fault.detail:
                raise SettlementError(fault.code, f"{fault.detail}: {words}") from None
        raise


REFUSALS = (
    ("NothingToClaim", "all that this proof promises is claimed already; draw it with `potchain contract withdraw`"),
    ("BadProof", "the contract has another root by now; write the proof anew with `potchain settle claim-proof`"),
)


@click.command()
@click.option("--amount", type=COINS, help="Base units, or such as 0.5ether [default: everything].")
@contract_options
@network_options
@sending_options(key_help="Web3 V3 keystore of the account that was credited.")
@json_option
def withdraw(amount: int | None, chosen: ContractChoice, at: NetworkChoice, sending: SendingChoice,
             as_json: bool) -> None:
    """Draw what the contract has credited to an account. Works while the contract is paused.

    What Merkle roots promised is credited by `potchain contract claim` first.

    \b
    Example:
      potchain contract withdraw --key provider.json
    """
    call = Call(chosen, at, sending)
    if not call.contract.rewards(call.sender.address):
        raise SettlementError("would_revert", f"withdraw: {_nothing_credited(call)}")
    signature, values = ("withdraw()", ()) if amount is None else ("withdraw(uint256)", (amount,))
    plan = call.plan("withdraw", signature, *values)
    done = call.carry_out(plan, as_json)
    if done is None:
        return
    drawn: int = done.value("Withdrawn", "amount")
    left = call.contract.rewards(call.sender.address)
    document = done.document() | {"amount": str(drawn), "rewards_left": str(left)}
    shown: list[tuple[str, object]] = [("withdrawn", f"{drawn:,} base units"), ("left", f"{left:,}")]
    emit(document, as_json, aligned([*shown, *done.pairs()]))


def _nothing_credited(call: Call) -> str:
    account = checksum_address(call.sender.address)
    return (
        f"contract {checksum_address(call.contract.address)} has nothing credited to {account}; what Merkle roots "
        f"promised is claimed first: `potchain settle claim-proof {account} --out claim.json`, then "
        f"`potchain contract claim --proof claim.json`"
    )


def add_to(group: click.Group) -> None:
    """Hang the commands under a group."""
    for command in (claim, withdraw):
        group.add_command(command)
