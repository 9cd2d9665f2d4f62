"""Reads both sides of an audit: a node's books over its HTTP API, and the contract's logs over JSON-RPC.

Whatever is asked comes in pages of a fixed size, and every loop has a bound. The books are read first; see `auditing`.

A ledger goes on while it is read. So the books are those of one height, that of the first answer: what the pages tell
of later blocks is left out, for every payout and action says in which block it was formed and in which it was executed.
The first answer also says how many payouts and actions there are, and how much is paid. Pages that tell of less have
not got that block yet, and are read again, a few times.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Final, TypeVar

import msgspec

from potchain import SettlementError, checksum_address, parse_address
from potchain_multisig.answers import LogShape, raw, small
from potchain_multisig.operator.artifact import Event
from potchain_multisig.operator.auditing import BookAction, BookPayout, Books, ChainAction, ChainSide
from potchain_multisig.operator.calling import DeployedContract

T = TypeVar("T")

TIMEOUT_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 16 << 20
PAGE: Final = 100
"""Payouts or actions of one answer."""
PAGES_MAX: Final = 100_000
"""Ten million payouts."""
READINGS_MAX: Final = 5
READ_AGAIN_S: Final = 0.5
"""Between two readings: rows come a moment after their block."""
BLOCKS_PER_CALL: Final = 1_000
"""Public endpoints refuse logs of more blocks at once."""


class _Payout(msgspec.Struct, frozen=True):
    id: int
    account: str
    amount: str
    height: int
    executed_height: int | None = None

    def paid(self, height: int) -> bool:
        """Whether it is paid by that block."""
        return self.executed_height is not None and self.executed_height <= height


class _Payouts(msgspec.Struct, frozen=True):
    payouts: tuple[_Payout, ...]
    next: str | None = None


class _Action(msgspec.Struct, frozen=True):
    binding: int
    nonce: int
    kind: str
    total: str
    formed_height: int
    executed_height: int | None = None
    first_payout: int | None = None
    last_payout: int | None = None
    transaction_hash: str | None = None

    def executed(self, height: int) -> bool:
        """Whether it is executed by that block."""
        return self.executed_height is not None and self.executed_height <= height

    @property
    def payouts(self) -> int:
        """That it pays."""
        if self.first_payout is None or self.last_payout is None:
            return 0
        return self.last_payout - self.first_payout + 1


class _Actions(msgspec.Struct, frozen=True):
    actions: tuple[_Action, ...]
    next: str | None = None


class _Contract(msgspec.Struct, frozen=True):
    binding: int
    scheme: str
    chain_id: int
    address: str
    from_block: int


class _Sum(msgspec.Struct, frozen=True):
    count: int
    total: str


class _Sums(msgspec.Struct, frozen=True):
    pending: _Sum
    batched: _Sum
    paid: _Sum

    @property
    def count(self) -> int:
        return self.pending.count + self.batched.count + self.paid.count


class _Settlement(msgspec.Struct, frozen=True):
    height: int
    next_action: int
    next_event: int
    credited: str
    payouts: _Sums
    contract: _Contract | None = None


class Bound(msgspec.Struct, frozen=True):
    """The contract that a ledger is bound to."""

    binding: int
    """1 for the first one that was ever bound."""
    scheme: str
    chain_id: int
    address: bytes
    from_block: int


class NodeBooks:
    """The API of one node."""

    def __init__(self, url: str) -> None:
        """`url` such as "http://127.0.0.1:8600". Raises SettlementError(`not_configured`) when it is none."""
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise SettlementError("not_configured", f"{url!r} is no http:// or https:// address of a node")
        self._url = url.rstrip("/")

    def bound(self) -> Bound:
        """Raises SettlementError: `not_configured` when no contract is bound, `unreachable`, `rubbish`."""
        contract = self._settlement()[1]
        return Bound(
            contract.binding, contract.scheme, contract.chain_id, parse_address(contract.address), contract.from_block
        )

    def read(self) -> Books:
        """Everything that concerns the bound contract, as of one height.

        Raises SettlementError as `bound`, and `rubbish` when payouts or actions that the node counts are never told of.
        """
        lacking = ""
        for reading in range(READINGS_MAX):
            if reading:
                time.sleep(READ_AGAIN_S)
            status, contract = self._settlement()
            height = status.height
            actions = [
                action
                for page in self._pages(_Actions, "/v1/settlement/actions")
                for action in page.actions
                if action.formed_height <= height
            ]
            payouts = [
                payout
                for page in self._pages(_Payouts, "/v1/payouts")
                for payout in page.payouts
                if payout.height <= height
            ]
            lacking = _lacking(status, contract, actions, payouts)
            if not lacking:
                return _books(status, contract, actions, payouts)
        raise SettlementError(
            "rubbish",
            f"{self._url} contradicts itself in {READINGS_MAX} readings: of block {height}, {lacking}; a node that has "
            f"just started may lack the past: ask another, or later",
        )

    def _settlement(self) -> tuple[_Settlement, _Contract]:
        status = self._get(_Settlement, "/v1/settlement")
        if status.contract is None:
            raise SettlementError(
                "not_configured", f"the ledger of {self._url} is bound to no contract; see `potchain gov`"
            )
        return status, status.contract

    def _pages(self, shape: type[T], path: str) -> Iterator[T]:
        cursor = ""
        for _ in range(PAGES_MAX):
            page = self._get(shape, f"{path}?limit={PAGE}{cursor}")
            yield page
            following: str | None = getattr(page, "next", None)
            if following is None:
                return
            cursor = f"&cursor={urllib.parse.quote(following)}"

    def _get(self, shape: type[T], path: str) -> T:
        try:
            with urllib.request.urlopen(self._url + path, timeout=TIMEOUT_S) as response:
                text: bytes = response.read(ANSWER_BYTES_MAX)
            return msgspec.json.decode(text, type=shape)
        except (OSError, http.client.HTTPException) as fault:
            raise SettlementError("unreachable", f"{self._url}{path} does not answer: {fault}") from None
        except msgspec.DecodeError as fault:
            raise SettlementError("rubbish", f"{self._url}{path} is no API of this version: {fault}") from None


def _lacking(status: _Settlement, contract: _Contract, actions: list[_Action], payouts: list[_Payout]) -> str:
    """Where the pages do not fit the state of the same block; empty: nowhere."""
    height, sums = status.height, status.payouts
    done = [action for action in actions if action.executed(height)]
    paid = [payout for payout in payouts if payout.paid(height)]
    for what, stated, told in (
        ("payouts", sums.count, len(payouts)),
        ("actions of the bound contract", status.next_action, sum(one.binding == contract.binding for one in actions)),
        ("paid payouts", sums.paid.count, len(paid)),
        ("payouts of executed actions", sums.paid.count, sum(action.payouts for action in done)),
        ("base units paid", int(sums.paid.total), sum(int(payout.amount) for payout in paid)),
    ):
        if stated != told:
            return f"it states {stated:,} {what} and lists {told:,}"
    return ""


def _books(
    status: _Settlement, contract: _Contract, actions: list[_Action], payouts: list[_Payout]
) -> Books:
    height = status.height
    before = [
        each.last_payout + 1
        for each in actions
        if each.binding < contract.binding and each.executed(height) and each.last_payout is not None
    ]
    return Books(
        height=height,
        binding=contract.binding,
        payouts=tuple(
            sorted(
                (BookPayout(each.id, parse_address(each.account), int(each.amount), each.paid(height))
                 for each in payouts),
                key=lambda each: each.id,
            )
        ),
        actions=tuple(
            sorted(
                (_book_action(each, height) for each in actions if each.binding == contract.binding),
                key=lambda each: each.nonce,
            )
        ),
        earlier_payouts=max(before, default=0),
        next_event=status.next_event,
        credited=int(status.credited),
    )  # fmt: skip


def _book_action(action: _Action, height: int) -> BookAction:
    sent = action.transaction_hash if action.executed(height) else None
    return BookAction(
        nonce=action.nonce,
        kind=action.kind,
        executed=action.executed(height),
        first_payout=action.first_payout,
        last_payout=action.last_payout,
        total=int(action.total),
        transaction_hash=None if sent is None else raw(sent),
    )


def read_chain(contract: DeployedContract, from_block: int) -> ChainSide:
    """The contract's logs up to the newest block, and its sums there. Raises SettlementError as `Endpoint.ask`."""
    head = contract.network.endpoint.quantity("eth_blockNumber")
    side = _Gathered()
    for first in range(from_block, head + 1, BLOCKS_PER_CALL):
        for log in _logs(contract, first, min(head, first + BLOCKS_PER_CALL - 1)):
            event = contract.artifact.event([raw(topic) for topic in log.topics], raw(log.data))
            if event is not None:
                side.take(event, raw(log.transaction_hash))
    block = hex(head)
    return ChainSide(
        block_number=head,
        actions=tuple(side.actions),
        strays=tuple(side.strays),
        claims=tuple(side.claims),
        deposits=tuple(side.deposits),
        next_event=contract.read("nextEventNonce()", block=block),
        deposited=contract.read("deposited()", block=block),
        allocated=contract.read("allocated()", block=block),
    )


def _logs(contract: DeployedContract, first: int, last: int) -> list[LogShape]:
    asked = {"address": checksum_address(contract.address), "fromBlock": hex(first), "toBlock": hex(last)}
    found = contract.network.endpoint.ask(list[LogShape], "eth_getLogs", asked)
    return sorted(found, key=lambda log: (small(log.block_number, "block number"), small(log.log_index, "log index")))


class _Gathered:
    """Credits are logged before the event that ends their batch, and after the one of a single payment."""

    def __init__(self) -> None:
        self.actions: list[ChainAction] = []
        self.strays: list[tuple[bytes, bytes, int]] = []
        self.claims: list[tuple[bytes, int]] = []
        self.deposits: list[tuple[int, int]] = []
        self._credits: list[tuple[bytes, int]] = []
        self._transaction = b""
        self._payment = False

    def take(self, event: Event, transaction_hash: bytes) -> None:
        """The next log."""
        values = event.values
        if transaction_hash != self._transaction:
            self._transaction, self._credits, self._payment = transaction_hash, [], False
        if event.name == "Credited" and self._payment:
            self.strays.append((transaction_hash, values["account"], values["amount"]))
            self._payment = False
        elif event.name == "Credited":
            self._credits.append((values["account"], values["amount"]))
        elif event.name == "TransactionExecuted":
            self._payment = True
        elif event.name == "BatchExecuted":
            batch, self._credits = tuple(self._credits), []
            self.actions.append(ChainAction(values["nonce"], "batch", values["total"], transaction_hash, batch))
        elif event.name == "RootCommitted":
            self.actions.append(
                ChainAction(values["nonce"], "root", values["total"], transaction_hash, root=values["root"])
            )
        elif event.name == "Claimed":
            self.claims.append((values["account"], values["amount"]))
        elif event.name == "Deposit":
            self.deposits.append((values["eventNonce"], values["amount"]))
