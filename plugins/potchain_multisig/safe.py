"""The scheme "safe": a Gnosis Safe 1.4.1 executes calls of PotBook, which it owns.

The digests are the core's (`potchain.settlement.safe`); here are the Safe's own functions, by a small ABI of the ones
that are called (safe-contracts 1.4.1, Safe.sol).
"""

from __future__ import annotations

import asyncio

from potchain import Action, Contract, ContractState, ReadyAction, SettlementError, action_digest, uint
from potchain_multisig.agreement import Look, Panel
from potchain_multisig.calls import Artifact, Entry, Interface, Parameter, load_artifact
from potchain_multisig.endpoints import Call
from potchain_multisig.multisig import joined
from potchain_multisig.views import Views

VERSIONS = ("1.3.0", "1.4.1")
"""Safes whose digests and signatures are those of the core."""
NOBODY = bytes(20)
PLAIN_CALL = 0

_TRANSACTION = ("address", "uint256", "bytes", "uint8", "uint256", "uint256", "uint256", "address", "address")
"""to, value, data, operation, safeTxGas, baseGas, gasPrice, gasToken, refundReceiver."""


def _function(name: str, inputs: tuple[str, ...], output: str) -> Entry:
    return Entry(
        type="function", name=name, inputs=tuple([Parameter(kind) for kind in inputs]), outputs=(Parameter(output),)
    )


SAFE_ABI = (
    _function("VERSION", (), "string"),
    _function("nonce", (), "uint256"),
    _function("getThreshold", (), "uint256"),
    _function("getOwners", (), "address[]"),
    _function("getTransactionHash", (*_TRANSACTION, "uint256"), "bytes32"),
    _function("execTransaction", (*_TRANSACTION, "bytes"), "bool"),
)


class SafeScheme:
    """How the ledger's actions are done with a Safe and PotBook. Implements `potchain_multisig.scheme.Scheme`."""

    def __init__(self, contract: Contract, panel: Panel) -> None:
        self.artifact: Artifact = load_artifact("PotBook")
        self._book = Interface(self.artifact.abi)
        self._safe = Interface(SAFE_ABI)
        self.errors = self._book
        self._contract = contract
        self._book_views = Views(panel, self._book, contract.address)
        self._safe_views = Views(panel, self._safe, contract.safe)

    async def verify(self, look: Look) -> None:
        """That the Safe owns the book and asks for the very signatures that the ledger's owners give."""
        here = look.head.hash
        owner = await self._book_views.address(look, here, "owner")
        if owner != self._contract.safe:
            raise SettlementError(
                "wrong_contract", f"the book belongs to 0x{owner.hex()}, not to the Safe 0x{self._contract.safe.hex()}"
            )
        version = await self._safe_views.text(look, here, "VERSION")
        if version not in VERSIONS:
            known = " or ".join(VERSIONS)
            raise SettlementError("wrong_contract", f"the Safe is of version {version[:16]!r}, not {known}")
        pause = Action(nonce=0, epoch=0, kind="pause", height=0)
        arguments = (*self._transaction(self._book_call(pause)), self._contract.safe_nonce)
        told = await self._safe_views.word(look, here, "getTransactionHash", *arguments)
        expected = action_digest(self._contract, pause)
        if told != expected:
            raise SettlementError(
                "wrong_contract", f"the Safe's hash of a pause is 0x{told.hex()}, the ledger's 0x{expected.hex()}"
            )

    async def state(self, look: Look) -> ContractState:
        """The book and the Safe's owners after the head. The epoch is always 0: a Safe counts none."""
        here = look.head.hash
        book, safe = self._book_views, self._safe_views
        (threshold, owners), (next_nonce, next_event, deposited, allocated, paused) = await asyncio.gather(
            asyncio.gather(safe.small(look, here, "getThreshold"), safe.addresses(look, here, "getOwners")),
            asyncio.gather(
                book.small(look, here, "nextNonce"),
                book.small(look, here, "nextEventNonce"),
                book.number(look, here, "deposited"),
                book.number(look, here, "allocated"),
                book.flag(look, here, "paused"),
            ),
        )
        return ContractState(
            next_nonce=next_nonce,
            next_event_nonce=next_event,
            epoch=0,
            threshold=threshold,
            owners=owners,
            deposited=deposited,
            allocated=allocated,
            paused=paused,
        )

    async def events_at(self, look: Look, block_hash: bytes) -> int:
        """How many events the book had after a block."""
        return await self._book_views.small(look, block_hash, "nextEventNonce")

    async def require_in_step(self, look: Look) -> None:
        """That the Safe did nothing but the ledger's actions since it was bound. Raises `safe_moved`."""
        here = look.head.hash
        safe_nonce, done = await asyncio.gather(
            self._safe_views.small(look, here, "nonce"), self._book_views.small(look, here, "nextNonce")
        )
        expected = self._contract.safe_nonce + done
        if safe_nonce != expected:
            raise SettlementError(
                "safe_moved",
                f"the Safe's nonce is {safe_nonce}, not {expected} as after {done} actions: it was used for "
                f"something else; bind it again with its present nonce",
            )

    def plan(self, ready: ReadyAction) -> Call:
        """The Safe transaction that executes an action. Raises `unsupported` for a rotation."""
        arguments = (*self._transaction(self._book_call(ready.action)), joined(ready))
        return Call(self._contract.safe, self._safe.encode("execTransaction", *arguments))

    def inner(self, call: Call) -> Call | None:
        """The book's part of a Safe transaction, as the Safe makes it: the Safe hides why the book refuses (GS013)."""
        _, _, data, *_ = self._safe.arguments("execTransaction", call.data)
        return Call(self._contract.address, data, sender=self._contract.safe)

    def _transaction(self, data: bytes) -> tuple[object, ...]:
        return (self._contract.address, 0, data, PLAIN_CALL, 0, 0, 0, NOBODY, NOBODY)

    def _book_call(self, action: Action) -> bytes:
        if action.kind == "batch":
            accounts = [entry.account for entry in action.entries]
            amounts = [uint(entry.amount) for entry in action.entries]
            return self._book.encode("credit", action.nonce, accounts, amounts)
        if action.kind == "root":
            return self._book.encode("commitRoot", action.nonce, action.root, action.total)
        if action.kind == "pause":
            return self._book.encode("setPaused", action.nonce, action.paused)
        raise SettlementError("unsupported", f"a Safe has no action {action.kind!r}; change its owners in the Safe")
