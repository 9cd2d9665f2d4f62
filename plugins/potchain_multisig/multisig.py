"""The scheme "multisig": calls of PotSettlement, which checks the owners' signatures itself."""

from __future__ import annotations

import asyncio

from potchain import Contract, ContractState, ReadyAction, SettlementError, domain_separator, uint
from potchain_multisig.agreement import Look, Panel
from potchain_multisig.calls import Artifact, Interface, load_artifact
from potchain_multisig.endpoints import Call
from potchain_multisig.views import Views


class MultisigScheme:
    """How the ledger's actions are done with PotSettlement. Implements `potchain_multisig.scheme.Scheme`."""

    def __init__(self, contract: Contract, panel: Panel) -> None:
        self.artifact: Artifact = load_artifact("PotSettlement")
        self._interface = Interface(self.artifact.abi)
        self.errors = self._interface
        self._contract = contract
        self._views = Views(panel, self._interface, contract.address)

    async def verify(self, look: Look) -> None:
        """That the contract asks for the very signatures that the ledger's owners give."""
        here = look.head.hash
        told = await self._views.word(look, here, "domainSeparator")
        expected = domain_separator(self._contract)
        if told != expected:
            raise SettlementError(
                "wrong_contract",
                f"domainSeparator() is 0x{told.hex()}, but the ledger's owners sign for 0x{expected.hex()}",
            )

    async def state(self, look: Look) -> ContractState:
        """The contract after the head."""
        here = look.head.hash
        views = self._views
        (epoch, threshold, owners), (next_nonce, next_event, deposited, allocated, paused) = await asyncio.gather(
            asyncio.gather(
                views.small(look, here, "epoch"),
                views.small(look, here, "threshold"),
                views.addresses(look, here, "owners"),
            ),
            asyncio.gather(
                views.small(look, here, "nextNonce"),
                views.small(look, here, "nextEventNonce"),
                views.number(look, here, "deposited"),
                views.number(look, here, "allocated"),
                views.flag(look, here, "paused"),
            ),
        )
        return ContractState(
            next_nonce=next_nonce,
            next_event_nonce=next_event,
            epoch=epoch,
            threshold=threshold,
            owners=owners,
            deposited=deposited,
            allocated=allocated,
            paused=paused,
        )

    async def events_at(self, look: Look, block_hash: bytes) -> int:
        """How many events the contract had after a block."""
        return await self._views.small(look, block_hash, "nextEventNonce")

    async def require_in_step(self, look: Look) -> None:
        """Nothing to check: the contract's nonce is the action's."""

    def plan(self, ready: ReadyAction) -> Call:
        """The call that executes an action."""
        action = ready.action
        signatures = joined(ready)
        if action.kind == "batch":
            accounts = [entry.account for entry in action.entries]
            amounts = [uint(entry.amount) for entry in action.entries]
            data = self._interface.encode("executeBatch", action.nonce, accounts, amounts, signatures)
        elif action.kind == "root":
            data = self._interface.encode("commitRoot", action.nonce, action.root, action.total, signatures)
        elif action.kind == "rotate":
            owners = list(action.owners)
            data = self._interface.encode("rotateOwners", action.nonce, owners, action.threshold, signatures)
        else:
            data = self._interface.encode("setPaused", action.nonce, action.paused, signatures)
        return Call(self._contract.address, data)

    def inner(self, call: Call) -> Call | None:
        """PotSettlement says itself why it refuses."""
        return None


def joined(ready: ReadyAction) -> bytes:
    """r, s, v of each signature, in the order of the owners' addresses: what both contracts expect."""
    return b"".join(signature for _, signature in sorted(ready.signatures))
