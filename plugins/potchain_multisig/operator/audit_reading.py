"""Reads both sides of an audit: a node's books over its HTTP API, and the contract's logs over JSON-RPC.

Whatever is asked comes in pages of a fixed size, and every loop has a bound. The books are read first; see `auditing`.
"""

from __future__ import annotations

import http.client
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
BLOCKS_PER_CALL: Final = 1_000
"""Public endpoints refuse logs of more blocks at once."""


class _Payout(msgspec.Struct, frozen=True):
    id: int
    status: str
    account: str
    amount: str


class _Payouts(msgspec.Struct, frozen=True):
    payouts: tuple[_Payout, ...]
    next: str | None = None


class _Action(msgspec.Struct, frozen=True):
    binding: int
    nonce: int
    kind: str
    status: str
    total: str
    first_payout: int | None = None
    last_payout: int | None = None
    transaction_hash: str | None = None


class _Actions(msgspec.Struct, frozen=True):
    actions: tuple[_Action, ...]
    next: str | None = None


class _Contract(msgspec.Struct, frozen=True):
    binding: int
    scheme: str
    chain_id: int
    address: str
    from_block: int


class _Settlement(msgspec.Struct, frozen=True):
    height: int
    next_event: int
    credited: str
    contract: _Contract | None = None


class Bound(msgspec.Struct, frozen=True):
    """The contract that a ledger is bound to."""

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
        return Bound(contract.scheme, contract.chain_id, parse_address(contract.address), contract.from_block)

    def read(self) -> Books:
        """Everything that concerns the bound contract, as of one height.

        Read again, from the start, while the ledger goes on meanwhile. Raises SettlementError as `bound`.
        """
        for _ in range(PAGES_MAX):
            status, contract = self._settlement()
            actions = [action for page in self._pages(_Actions, "/v1/settlement/actions") for action in page.actions]
            payouts = [payout for page in self._pages(_Payouts, "/v1/payouts") for payout in page.payouts]
            if self._settlement() == (status, contract):
                return _books(status, contract, actions, payouts)
        raise SettlementError("unreachable", f"{self._url} changes faster than it can be read")

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


def _books(
    status: _Settlement, contract: _Contract, actions: list[_Action], payouts: list[_Payout]
) -> Books:
    before = [
        each.last_payout + 1
        for each in actions
        if each.binding < contract.binding and each.status == "executed" and each.last_payout is not None
    ]
    return Books(
        height=status.height,
        payouts=tuple(
            sorted(
                (BookPayout(each.id, parse_address(each.account), int(each.amount), each.status == "paid")
                 for each in payouts),
                key=lambda each: each.id,
            )
        ),
        actions=tuple(
            sorted(
                (_book_action(each) for each in actions if each.binding == contract.binding),
                key=lambda each: each.nonce,
            )
        ),
        earlier_payouts=max(before, default=0),
        next_event=status.next_event,
        credited=int(status.credited),
    )  # fmt: skip


def _book_action(action: _Action) -> BookAction:
    return BookAction(
        nonce=action.nonce,
        kind=action.kind,
        status=action.status,
        first_payout=action.first_payout,
        last_payout=action.last_payout,
        total=int(action.total),
        transaction_hash=None if action.transaction_hash is None else raw(action.transaction_hash),
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
