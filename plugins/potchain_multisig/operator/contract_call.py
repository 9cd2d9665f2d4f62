"""One call of the contract by a command: opened, planned, sent unless it is a dry run, and told."""

from __future__ import annotations

from typing import Any

from potchain import SettlementError
from potchain.commands import aligned, emit
from potchain_multisig.operator.artifact import Event
from potchain_multisig.operator.calling import DeployedContract, Payment
from potchain_multisig.operator.network import Network
from potchain_multisig.operator.sending import Plan, Receipt, Sender
from potchain_multisig.operator.session import (
    ContractChoice,
    NetworkChoice,
    SendingChoice,
    planned_document,
    planned_lines,
)


class Done:
    """A mined call, with what the contract told in it."""

    def __init__(self, network: Network, receipt: Receipt, events: tuple[Event, ...]) -> None:
        self._network = network
        self._receipt = receipt
        self._events = events

    def value(self, event: str, name: str) -> Any:  # noqa: ANN401 - any ABI value
        """Of an event that the call told. Raises SettlementError(`rubbish`) when it told none of that name."""
        for each in self._events:
            if each.name == event:
                return each.values[name]
        raise SettlementError("rubbish", f"transaction {self._receipt.transaction_hash} tells of no {event}")

    def document(self) -> dict[str, object]:
        """JSON of the transaction."""
        return {
            "network": self._network.name,
            "chain_id": self._network.chain_id,
            "transaction": self._receipt.transaction_hash,
            "block_number": self._receipt.block_number,
            "gas_used": self._receipt.gas_used,
        }

    def pairs(self) -> list[tuple[str, object]]:
        """The transaction, for people."""
        receipt = self._receipt
        return [("transaction", f"{receipt.transaction_hash}, block {receipt.block_number}"),
                ("gas used", f"{receipt.gas_used:,}")]  # fmt: skip


class Call:
    """One call of the contract: opened, planned, and carried out unless it is a dry run."""

    def __init__(self, chosen: ContractChoice, at: NetworkChoice, sending: SendingChoice) -> None:
        self._sending = sending
        self.network = at.open()
        self.contract: DeployedContract = chosen.open(self.network)[0]
        self.sender: Sender = sending.sender(self.network)

    def plan(self, what: str, signature: str, *values: object, value_wei: int = 0) -> Plan:
        """Simulated. Raises SettlementError as `Sender.plan`, and `refused` for what the contract does not have."""
        if signature not in self.contract.artifact.functions:
            raise SettlementError("refused", f"{self.contract.artifact.name} has no {signature.partition('(')[0]}")
        return self.contract.plan(self.sender, what, signature, *values, value_wei=value_wei)

    def carry_out(self, plan: Plan, as_json: bool) -> Done | None:
        """Sent and mined; None: it was a dry run, and has been told."""
        if self._sending.dry(self.network):
            document = planned_document(self.network, self.sender, [plan])
            emit(document, as_json, planned_lines(self.network, self.sender, [plan]))
            return None
        (receipt,) = self._sending.carry_out(self.sender, [plan], self.contract.artifact)
        return Done(self.network, receipt, self.contract.events(receipt))

    def tell_payment(self, done: Done, payment: Payment, as_json: bool) -> None:
        """What became of a payment on the compatible path."""
        threshold: int = self.contract.read("threshold()")
        document = done.document() | {
            "index": hex(payment.index),
            "to": payment.destination,
            "amount": str(payment.value),
            "confirmations": payment.confirmations,
            "threshold": threshold,
            "executed": payment.executed,
        }
        state = "credited" if payment.executed else f"{payment.confirmations} of {threshold} confirmations"
        shown = [("index", hex(payment.index)), ("payment", f"{payment.value:,} base units to {payment.destination}"),
                 ("state", state)]  # fmt: skip
        emit(document, as_json, aligned([*shown, *done.pairs()]))
