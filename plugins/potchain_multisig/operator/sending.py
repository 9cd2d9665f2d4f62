"""Plans, signs, sends and follows transactions of one account, in the order of their nonces.

A transaction is simulated by the endpoint before it is signed (eth_estimateGas), so that a call which the contract
would refuse costs nothing and is told with the contract's own error. A *dry run* stops there. Nothing is sent twice: a
transaction is signed once, with one nonce, and a command that gives up waiting names its hash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from potchain import PluginError, SettlementError, SigningKey, checksum_address
from potchain_multisig.answers import HexAddress, HexHash, HexQuantity, LogShape, raw
from potchain_multisig.operator.artifact import EXTRA_MISSING, Artifact
from potchain_multisig.operator.endpoint import Refusal
from potchain_multisig.operator.network import COIN, Fee, FeeOptions, Network

GAS_MARGIN_PERCENT: Final = 15
"""Above the estimate, because state may change before the block."""
TRANSFER_GAS: Final = 21_000
POLL_S: Final = 0.25
TIMEOUT_S: Final = 180.0

Say = Callable[[str], None]


class _ReceiptShape(msgspec.Struct, frozen=True, rename="camel"):
    """What eth_getTransactionReceipt gives, as far as commands use it."""

    transaction_hash: HexHash
    block_hash: HexHash
    block_number: HexQuantity
    gas_used: HexQuantity
    status: HexQuantity
    effective_gas_price: HexQuantity | None = None
    contract_address: HexAddress | None = None
    logs: tuple[LogShape, ...] = ()


class SentShape(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """What eth_getTransactionByHash gives: enough to call the same again."""

    sender: HexAddress
    to: HexAddress | None = None
    input: str = "0x"
    value: HexQuantity = "0x0"


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """One log of a receipt."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A mined transaction."""

    transaction_hash: str
    block_number: int
    block_hash: str
    gas_used: int
    cost_wei: int
    """Gas times price."""
    contract: bytes | None
    """Address of the contract that it created."""
    logs: tuple[Log, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction that is not signed yet."""

    to: bytes | None
    """None: creates a contract."""
    value_wei: int
    data: bytes
    nonce: int
    gas: int
    """Limit."""
    fee: Fee
    what: str
    """For people."""

    @property
    def most_wei(self) -> int:
        """What it can cost, value included."""
        return self.value_wei + self.gas * self.fee.max_wei


class Sender:
    """One account on one chain. Not for two commands at a time: they would take the same nonce."""

    def __init__(self, network: Network, address: bytes, key: SigningKey | None, fees: FeeOptions, say: Say) -> None:
        """`key`: None for a dry run, which never signs."""
        self.network = network
        self.address = address
        self._key = key
        self._fees = fees
        self._say = say
        self._next_nonce: int | None = None
        self._planned_wei = 0

    def plan(self, what: str, to: bytes | None, data: bytes = b"", value_wei: int = 0, *,
             artifact: Artifact | None = None) -> Plan:
        """Simulate and price a transaction; takes the account's next nonce.

        Raises SettlementError: `would_revert` (with the error that `artifact` knows), `empty_wallet`, `gas_too_dear`,
        `gas_too_much`.
        """
        fee = self.network.fee(self._fees)
        gas = TRANSFER_GAS if to is not None and not data else self._estimate(what, to, data, value_wei, artifact)
        if self._next_nonce is None:
            self._next_nonce = self.network.endpoint.quantity(
                "eth_getTransactionCount", checksum_address(self.address), "pending"
            )
        plan = Plan(
            to=to, value_wei=value_wei, data=data, nonce=self._next_nonce, gas=gas, fee=fee, what=what
        )
        held = balance_of(self.network, self.address)
        if held < self._planned_wei + plan.most_wei:
            others = f" and {coins(self._planned_wei)} for what goes before" if self._planned_wei else ""
            raise SettlementError(
                "empty_wallet",
                f"{what}: {checksum_address(self.address)} holds {coins(held)}, and may need {coins(plan.most_wei)} "
                f"(value {coins(value_wei)}, gas {gas:,} at no more than {fee.max_wei:,} wei){others}",
            )
        self._planned_wei += plan.most_wei
        self._next_nonce += 1
        return plan

    def send(self, plan: Plan) -> str:
        """Sign and send; returns the transaction's hash. Raises SettlementError(`empty_wallet` or `refused`)."""
        assert self._key is not None, "a dry run never sends"
        signed, transaction_hash = sign(plan, self._key, self.network.chain_id)
        self._planned_wei = max(0, self._planned_wei - plan.most_wei)
        try:
            self.network.endpoint.data("eth_sendRawTransaction", "0x" + signed.hex())
        except Refusal as fault:
            words = fault.message.lower()
            if "already known" in words or "already imported" in words:
                return transaction_hash
            code = "empty_wallet" if "insufficient funds" in words else "refused"
            raise SettlementError(code, f"{plan.what}: {fault.message}") from None
        return transaction_hash

    def wait(self, transaction_hash: str, confirmations: int, timeout_s: float, what: str,
             artifact: Artifact | None = None) -> Receipt:
        """Until the transaction is in a block with `confirmations` - 1 above it.

        Raises SettlementError: `not_mined` when the time is over, `would_revert` when it was mined and refused.
        """
        endpoint = self.network.endpoint
        deadline = time.monotonic() + timeout_s
        told = 0
        while True:
            found = endpoint.ask(_ReceiptShape | None, "eth_getTransactionReceipt", transaction_hash)  # type: ignore[arg-type]
            if isinstance(found, _ReceiptShape):
                receipt = self._receipt(found, what, artifact)
                deep = endpoint.quantity("eth_blockNumber") - receipt.block_number + 1
                if deep >= confirmations:
                    return receipt
                if deep > told:
                    self._say(f"{what}: in block {receipt.block_number}, {deep} of {confirmations} confirmations")
                    told = deep
            if time.monotonic() > deadline:
                state = "mined, but not deep enough" if told else "not mined"
                raise SettlementError(
                    "not_mined",
                    f"{what}: transaction {transaction_hash} is {state} after {timeout_s:.0f} s; it may still be: look "
                    f"for it before you send again",
                )
            time.sleep(POLL_S)

    def _estimate(self, what: str, to: bytes | None, data: bytes, value_wei: int, artifact: Artifact | None) -> int:
        request: dict[str, str] = {"from": checksum_address(self.address), "data": "0x" + data.hex()}
        if to is not None:
            request["to"] = checksum_address(to)
        if value_wei:
            request["value"] = hex(value_wei)
        try:
            needed = self.network.endpoint.quantity("eth_estimateGas", request)
        except Refusal as fault:
            raise refused_call(what, fault, artifact) from None
        limit = int(self.network.latest_block().gas_limit, 16)
        if needed > limit:
            raise SettlementError("gas_too_much", f"{what}: needs {needed:,} gas, and a block holds {limit:,}")
        return min(needed * (100 + GAS_MARGIN_PERCENT) // 100, limit)

    def _receipt(self, found: _ReceiptShape, what: str, artifact: Artifact | None) -> Receipt:
        block, gas = int(found.block_number, 16), int(found.gas_used, 16)
        if int(found.status, 16) != 1:
            raise SettlementError(
                "would_revert",
                f"{what}: transaction {found.transaction_hash} was mined in block {block} and refused: "
                f"{self._reason(found.transaction_hash, block, artifact)}",
            )
        logs = tuple(
            Log(address=raw(log.address), topics=tuple(map(raw, log.topics)), data=raw(log.data))
            for log in found.logs
        )
        return Receipt(
            transaction_hash=found.transaction_hash,
            block_number=block,
            block_hash=found.block_hash,
            gas_used=gas,
            cost_wei=gas * int(found.effective_gas_price or "0x0", 16),
            contract=None if found.contract_address is None else raw(found.contract_address),
            logs=logs,
        )

    def _reason(self, transaction_hash: str, block: int, artifact: Artifact | None) -> str:
        """Ask for the same call again on the state that it met; best effort, for the message only."""
        sent = self.network.endpoint.ask(SentShape, "eth_getTransactionByHash", transaction_hash)
        request = {"from": sent.sender, "data": sent.input, "value": sent.value}
        if sent.to is not None:
            request["to"] = sent.to
        try:
            self.network.endpoint.data("eth_call", request, hex(block - 1))
        except Refusal as fault:
            return refused_call("", fault, artifact).detail
        return "the same call would pass on the block before; something came between, or it had too little gas"


def carry_out(sender: Sender, plans: Sequence[Plan], confirmations: int, timeout_s: float, say: Say, *,
              artifact: Artifact | None = None) -> tuple[Receipt, ...]:
    """Send all, then wait for all."""
    hashes = []
    for plan in plans:
        hashes.append(sender.send(plan))
        say(f"{plan.what}: sent, {hashes[-1]}")
    return tuple(
        sender.wait(each, confirmations, timeout_s, plan.what, artifact)
        for each, plan in zip(hashes, plans, strict=True)
    )


def sign(plan: Plan, key: SigningKey, chain_id: int) -> tuple[bytes, str]:
    """Raw transaction (EIP-2718) and its hash."""
    try:
        from eth_account import Account
    except ImportError:
        raise PluginError(EXTRA_MISSING) from None
    fields: dict[str, Any] = {
        "chainId": chain_id,
        "nonce": plan.nonce,
        "gas": plan.gas,
        "value": plan.value_wei,
        "data": plan.data,
        **plan.fee.fields(),
    }
    if plan.to is not None:
        fields["to"] = checksum_address(plan.to)
    signed = Account.sign_transaction(fields, key.secret)
    return bytes(signed.raw_transaction), "0x" + bytes(signed.hash).hex()


def balance_of(network: Network, address: bytes) -> int:
    """In wei, at the newest block."""
    return network.endpoint.quantity("eth_getBalance", checksum_address(address), "latest")


def refused_call(what: str, fault: Refusal, artifact: Artifact | None) -> SettlementError:
    """What a refused simulation means: the contract's error, an empty wallet, or the endpoint's own words."""
    words = fault.message.lower()
    place = f"{what}: " if what else ""
    if fault.data and artifact is not None:
        error = artifact.error(fault.data)
        return SettlementError(error.fault, f"{place}the contract refuses: {error.text}")
    if "insufficient funds" in words or "insufficient balance" in words:
        return SettlementError("empty_wallet", f"{place}{fault.message}")
    if "revert" in words:
        return SettlementError("would_revert", f"{place}the contract refuses: {fault.message}")
    return SettlementError("refused", f"{place}{fault.message}")


def coins(amount_wei: int) -> str:
    """For people: in whole coins, without trailing zeros."""
    whole, rest = divmod(amount_wei, COIN)
    return f"{whole:,}" + (f".{rest:018d}".rstrip("0") if rest else "")
