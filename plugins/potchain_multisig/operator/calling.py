"""The deployed contract: what it says of itself, and the calls that an operator makes by hand.

Everything is asked for at one block, so that the answers fit each other.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from potchain import SettlementError, checksum_address, keccak256, parse_address
from potchain_multisig.operator.artifact import Artifact, Event, load_artifact
from potchain_multisig.operator.deploying import ARTIFACT_OF, Deployment, Kind, check_code
from potchain_multisig.operator.endpoint import Refusal
from potchain_multisig.operator.network import Network
from potchain_multisig.operator.sending import Plan, Receipt, Sender, balance_of, refused_call

WORD_BYTES: Final = 32
VALUE_BITS: Final = 96
"""A payment is its own index: destination << 96 | value."""


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """The contract at one block. Amounts in base units of its asset."""

    network: str
    chain_id: int
    block_number: int
    address: str
    contract: str
    owners: tuple[str, ...]
    """multisig: sorted; safe-book: the Safe alone."""
    threshold: int
    """multisig; 0 for a book, the Safe has its own."""
    epoch: int
    next_nonce: int
    next_event_nonce: int
    deposited: int
    allocated: int
    paused: bool
    paused_until: int
    """Unix time in seconds; far in the future for "until further notice", 0 for never."""
    token: str
    """Zero: the chain's own coin."""
    compatible: bool
    balance: int
    committed_root: str


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment of the compatible path."""

    index: int
    destination: str
    value: int
    confirmations: int | None
    """By the owners in office; None once it has been credited."""

    @property
    def executed(self) -> bool:
        """Whether it has been credited."""
        return self.confirmations is None


class DeployedContract:
    """One contract of ours on one network."""

    def __init__(self, network: Network, address: bytes, kind: Kind) -> None:
        """Raises SettlementError(`wrong_contract`) unless this version's code is there."""
        self.network = network
        self.address = address
        self.kind = kind
        self.artifact: Artifact = load_artifact(ARTIFACT_OF[kind])
        check_code(network, self.artifact, address)

    def read(self, signature: str, *values: object, block: str = "latest") -> Any:  # noqa: ANN401 - any ABI value
        """One view. Raises SettlementError(`would_revert` or `rubbish`)."""
        request = {"to": checksum_address(self.address), "data": "0x" + self.artifact.call(signature, *values).hex()}
        try:
            answer = self.network.endpoint.data("eth_call", request, block)
        except Refusal as fault:
            raise refused_call(signature, fault, self.artifact) from None
        decoded = self.artifact.result(signature, answer)
        return decoded[0] if len(decoded) == 1 else decoded

    def info(self) -> Info:
        """Everything that it says of itself, at one block."""
        number = self.network.endpoint.quantity("eth_blockNumber")
        block = hex(number)

        def ask(signature: str) -> Any:  # noqa: ANN401 - any ABI value
            return self.read(signature, block=block)

        multisig = self.kind == "multisig"
        owners = ask("owners()") if multisig else (ask("owner()"),)
        return Info(
            network=self.network.name,
            chain_id=self.network.chain_id,
            block_number=number,
            address=checksum_address(self.address),
            contract=self.artifact.name,
            owners=tuple(checksum_address(owner) for owner in sorted(owners)),
            threshold=ask("threshold()") if multisig else 0,
            epoch=ask("epoch()") if multisig else 0,
            next_nonce=ask("nextNonce()"),
            next_event_nonce=ask("nextEventNonce()"),
            deposited=ask("deposited()"),
            allocated=ask("allocated()"),
            paused=ask("paused()"),
            paused_until=ask("pausedUntil()"),
            token=checksum_address(ask("token()")),
            compatible=ask("compatible()") if multisig else False,
            balance=self.held_by_contract(ask("token()")),
            committed_root="0x" + ask("committedRoot()").hex(),
        )

    def held_by_contract(self, token: bytes) -> int:
        """What the contract holds of its asset."""
        return balance_of(self.network, self.address) if token == bytes(20) else self._token_balance(token)

    def differences(self, info: Info, deployment: Deployment) -> tuple[str, ...]:
        """In what the contract differs from its deployment file; empty: in nothing."""
        found = []
        stated = deployment.arguments
        for what, here, there in (
            ("chain id", info.chain_id, deployment.chain_id),
            ("address", info.address, deployment.address),
            ("token", info.token, checksum_address(parse_address(stated.token))),
            ("artifact", self.artifact.hash, deployment.artifact_hash),
        ):
            if here != there:
                found.append(f"{what}: {here}, deployment file: {there}")
        if self.kind == "safe-book":
            owners: tuple[str, ...] = (checksum_address(parse_address(stated.safe)),)
        else:
            owners = stated.owners
            if info.compatible != stated.compatible:
                found.append(f"compatible: {info.compatible}, deployment file: {stated.compatible}")
        if info.epoch == 0:  # later epochs have other owners, by a rotation
            if info.owners != owners:
                found.append("owners are not those of the deployment file")
            if info.threshold != stated.threshold:
                found.append(f"threshold: {info.threshold}, deployment file: {stated.threshold}")
        if info.balance < info.deposited - info.allocated:
            found.append(f"it holds {info.balance}, less than its unallocated {info.deposited - info.allocated}")
        return tuple(found)

    def rewards(self, account: bytes) -> int:
        """Credited and not withdrawn, in base units."""
        value: int = self.read("rewards(address)", account)
        return value

    def payment(self, index: int) -> Payment:
        """A payment of the compatible path. Raises SettlementError(`would_revert`) when nobody has proposed it."""
        confirmations: int | None
        try:
            confirmations = self.read("confirmationsOf(uint256)", index)
        except SettlementError as fault:
            if "TransactionAlreadyExecuted" not in fault.detail:
                raise
            confirmations = None
        destination, value = divmod(index, 1 << VALUE_BITS)
        return Payment(
            index=index,
            destination=checksum_address(destination.to_bytes(20, "big")),
            value=value,
            confirmations=confirmations,
        )

    def plan(self, sender: Sender, what: str, signature: str, *values: object, value_wei: int = 0) -> Plan:
        """A call of ours, simulated. Raises SettlementError as `Sender.plan`."""
        data = self.artifact.call(signature, *values)
        return sender.plan(what, self.address, data, value_wei, artifact=self.artifact)

    def events(self, receipt: Receipt) -> tuple[Event, ...]:
        """What the contract told in a transaction. Raises SettlementError(`rubbish`) on damaged logs."""
        found = []
        for log in receipt.logs:
            if log.address != self.address:
                continue
            event = self.artifact.event(log.topics, log.data)
            if event is not None:
                found.append(event)
        return tuple(found)

    def approval(self, sender: Sender, token: bytes, amount: int) -> Plan | None:
        """What must be mined before the sender can deposit so much of a token; None: it has approved enough already."""
        if self._ask_token(token, "allowance(address,address)", sender.address, self.address) >= amount:
            return None
        data = _erc20("approve(address,uint256)", self.address, amount.to_bytes(WORD_BYTES, "big"))
        return sender.plan(f"approve {amount} of the token", token, data)

    def _token_balance(self, token: bytes) -> int:
        return self._ask_token(token, "balanceOf(address)", self.address)

    def _ask_token(self, token: bytes, signature: str, *words: bytes) -> int:
        request = {"to": checksum_address(token), "data": "0x" + _erc20(signature, *words).hex()}
        answer = self.network.endpoint.data("eth_call", request, "latest")
        return int.from_bytes(answer[:WORD_BYTES], "big")


def _erc20(signature: str, *words: bytes) -> bytes:
    """A call of the token standard (EIP-20)."""
    return keccak256(signature.encode())[:4] + b"".join(word.rjust(WORD_BYTES, b"\x00") for word in words)
