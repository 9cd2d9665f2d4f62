"""`potchain contract audit`: a ledger against its contract."""

from __future__ import annotations

import click
import msgspec

from potchain import SettlementError, checksum_address
from potchain.commands import EXIT_FAILED, EXIT_OK, aligned, emit, json_option
from potchain_multisig.operator.auditing import Audit
from potchain_multisig.operator.calling import DeployedContract
from potchain_multisig.operator.session import NetworkChoice, network_options


@click.command()
@click.option("--node", "--url", "node", default="http://127.0.0.1:8080", show_default=True, envvar="POTCHAIN_NODE",
              help="URL of a node's API.")
@click.option("--settled", is_flag=True, help="Count payouts that are not paid yet as a difference.")
@network_options
@json_option
def audit(node: str, settled: bool, at: NetworkChoice, as_json: bool) -> int:
    """Compare every payout of the ledger with the credits on the chain; code 1 when anything differs.

    The node says which contract is bound; those bound before, and what they paid, are not audited. Read your own node
    and your own endpoint: what they say is believed.

    \b
    Example:
      potchain contract audit --node http://127.0.0.1:8080 --network bsc:testnet
    """
    from potchain_multisig.operator.audit_reading import NodeBooks, read_chain
    from potchain_multisig.operator.auditing import compare

    books = NodeBooks(node)
    bound = books.bound()
    network = at.open()
    if network.chain_id != bound.chain_id:
        raise SettlementError(
            "wrong_chain", f"the ledger is bound to chain id {bound.chain_id}, and {network.name} is {network.chain_id}"
        )
    contract = DeployedContract(network, bound.address, "multisig" if bound.scheme == "multisig" else "safe-book")
    ledger = books.read()
    if ledger.binding != bound.binding:
        raise SettlementError("wrong_contract", f"{node} has bound another contract meanwhile; audit again")
    found = compare(ledger, read_chain(contract, bound.from_block))
    failed = bool(found.differences) or (settled and found.pending_payouts > 0)
    document = {"contract": checksum_address(bound.address), "chain_id": bound.chain_id, "equal": not failed}
    document |= {name: str(value) if name in AMOUNTS else value for name, value in msgspec.to_builtins(found).items()}
    emit(document, as_json, _lines(found, bound.address, network.name, settled))
    return EXIT_FAILED if failed else EXIT_OK


AMOUNTS = ("earlier_paid", "owed", "paid", "claimed", "deposited")


def _lines(found: Audit, address: bytes, network: str, settled: bool) -> list[str]:
    shown: list[tuple[str, object]] = [
        ("contract", f"{checksum_address(address)} on {network}, up to block {found.block_number}"),
        ("ledger", f"block {found.height}"),
        ("decided", f"{found.payouts:,} payouts, {found.owed:,} base units"),
        ("paid on the chain", f"{found.paid_payouts:,} payouts, {found.paid:,} base units"),
        ("not paid yet", f"{found.pending_payouts:,} payouts, {found.owed - found.paid:,} base units"),
        ("claimed from roots", f"{found.claimed:,} base units"),
        ("deposited", f"{found.deposited:,} base units"),
    ]
    if found.binding > 1:
        shown[0:1] = [
            ("contract audited", f"number {found.binding}, {shown[0][1]}"),
            ("not audited", f"{found.binding - 1} bound before it, with {found.earlier_payouts:,} payouts paid, "
             f"{found.earlier_paid:,} base units"),
        ]  # fmt: skip
    if found.unseen_actions:
        shown.append(("not seen by the ledger", f"{found.unseen_actions} executed actions"))
    lines = aligned(shown)
    lines += [f"DIFFERS: {each}" for each in found.differences]
    if found.more_differences:
        lines.append(f"DIFFERS: {found.more_differences} more")
    if settled and found.pending_payouts:
        lines.append(f"DIFFERS: {found.pending_payouts:,} payouts are not paid")
    if not found.differences:
        scope = "every payout that was paid" if found.binding == 1 else "every payout that this contract paid"
        lines.append(f"{scope} was paid once, and nothing else was credited")
    return lines


def add_to(group: click.Group) -> None:
    """Hang the command under a group."""
    group.add_command(audit)
