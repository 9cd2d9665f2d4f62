"""Money over both layers: paid exactly once, and by true events alone.

The books of the ledger's side are kept here from the events and bodies of blocks, stepped once for each height by the
first honest node that executes it; the chain is asked as it is, whatever endpoints show. What the contract's own rules
promise (signatures, nonces) is not taken for granted: what it credited is compared with what the ledger owed, account
by account, after each block and each reorganisation. Runs without a Layer 2 have nothing to look at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from potchain.application.settlement.bodies import (
    ActionFormed,
    DepositCredited,
    Layer2Applied,
    ObserveL2,
    PayoutCreated,
    Withdraw,
)
from potchain.blocks import Event, ExecutedBlock
from potchain.codec import decode
from potchain.consensus.quorum import Quorum
from potchain.primitives import uint
from potchain.settlement import DepositSeen, Layer2Event
from potchain.sim.layer2.contract import Book
from potchain.sim.observation import Checker, ClusterView, Layer2View, NodeView, PromiseBroken
from potchain.transactions import SignedTransaction, TransactionBody

B = TypeVar("B", bound=TransactionBody)
Said = tuple[str, bytes, int, bytes, bytes, int]
"""What a vote says: kind, payload, block number and hash, transaction, place in the block."""
PAYING = frozenset(("batch", "root"))


class PaidOnce(Checker):
    """What the contract credited is what the ledger owed by the actions that it executed, account by account."""

    name = "paid once"

    def __init__(self) -> None:
        self._height = 0
        self._payouts: list[tuple[bytes, int]] = []
        """Account and amount, by number."""
        self._taken = 0
        """Payouts below this are part of an action."""
        self._actions: list[ActionFormed] = []
        self._batched: list[dict[bytes, int]] = [{}]
        """What each account is owed by the batches below a nonce."""
        self._rooted: list[dict[bytes, int]] = [{}]
        """What each account is owed by the roots below a nonce."""
        self._asked = 0
        """What all actions together pay."""
        self._cluster: ClusterView

    def begin(self, cluster: ClusterView) -> None:
        """Whose Layer 2 it is."""
        self._cluster = cluster

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """Keep the books."""
        if node.is_faulty or block.height != self._height + 1:
            return
        self._height = block.height
        for raw, receipt in zip(block.bodies, block.receipts, strict=True):
            created = self._step(node, receipt.events)
            body = _body_of(raw, Withdraw) if receipt.status == "ok" else None
            wanted = [] if body is None else [(body.from_, uint(body.amount))]
            if created != wanted:
                raise PromiseBroken(node.index, f"height {block.height}: payouts {created} by 0x{raw[:8].hex()}")
        created = self._step(node, block.end_events)
        if created:
            raise PromiseBroken(node.index, f"height {block.height}: payouts {created} by nothing")

    def _step(self, node: NodeView, events: Iterable[Event]) -> list[tuple[bytes, int]]:
        created = []
        for event in events:
            if event.kind == PayoutCreated.__name__:
                payout = decode(PayoutCreated, event.data)
                if payout.id != len(self._payouts):
                    raise PromiseBroken(node.index, f"payout {payout.id} after {len(self._payouts)} payouts")
                self._payouts.append((payout.account, uint(payout.amount)))
                created.append(self._payouts[-1])
            elif event.kind == ActionFormed.__name__:
                self._form(node, decode(ActionFormed, event.data))
        return created

    def _form(self, node: NodeView, action: ActionFormed) -> None:
        if action.nonce != len(self._actions):
            raise PromiseBroken(node.index, f"action {action.nonce} after {len(self._actions)} actions")
        self._actions.append(action)
        batched, rooted = dict(self._batched[-1]), dict(self._rooted[-1])
        self._batched.append(batched)
        self._rooted.append(rooted)
        if action.kind not in PAYING:
            return
        if action.first_payout != self._taken or not self._taken <= action.last_payout < len(self._payouts):
            raise PromiseBroken(
                node.index,
                f"action {action.nonce} pays payouts {action.first_payout} to {action.last_payout}; {self._taken} is "
                f"the oldest that no action pays, of {len(self._payouts)}",
            )
        sums, total = batched if action.kind == "batch" else rooted, 0
        for account, amount in self._payouts[self._taken : action.last_payout + 1]:
            sums[account] = sums.get(account, 0) + amount
            total += amount
        if total != uint(action.total):
            raise PromiseBroken(node.index, f"action {action.nonce} pays {uint(action.total)}, its payouts are {total}")
        self._taken = action.last_payout + 1
        self._asked += total
        layer2 = self._cluster.layer2
        if layer2 is not None and self._asked > layer2.chain.book.deposited:
            raise PromiseBroken(
                node.index,
                f"action {action.nonce} makes {self._asked} to be paid in all, and {layer2.chain.book.deposited} was "
                f"deposited; nothing behind it can be executed",
            )

    def layer2(self, layer2: Layer2View) -> None:
        """Compare."""
        book = layer2.chain.book
        if book.next_nonce > len(self._actions):
            raise PromiseBroken(
                None, f"the contract executed action {book.next_nonce - 1}; the ledger formed {len(self._actions)}"
            )
        owed, promised = self._batched[book.next_nonce], self._rooted[book.next_nonce]
        for account in {**owed, **book.credits}:
            credited, claimed = book.credits.get(account, 0), book.claimed.get(account, 0)
            if credited - claimed != owed.get(account, 0) or claimed > promised.get(account, 0):
                raise PromiseBroken(
                    None,
                    f"0x{account.hex()} was credited {credited}, {claimed} of it by claims; batches owed it "
                    f"{owed.get(account, 0)}, roots {promised.get(account, 0)}",
                )
        allocated = sum(owed.values()) + sum(promised.values())
        if not book.allocated == allocated <= book.deposited:
            raise PromiseBroken(
                None, f"the contract allocated {book.allocated} of {book.deposited}; the ledger owed {allocated}"
            )

    def finished(self, cluster: ClusterView) -> None:
        """What roots promise was claimed to the last unit, if the run came to rest."""
        layer2 = cluster.layer2
        if layer2 is None or layer2.unsettled():
            return
        book: Book = layer2.chain.book
        promised = self._rooted[book.next_nonce]
        if dict(book.claimed) != promised or self._taken != len(self._payouts) or book.next_nonce != len(self._actions):
            raise PromiseBroken(
                None,
                f"at rest {book.next_nonce} of {len(self._actions)} actions are executed, {self._taken} of "
                f"{len(self._payouts)} payouts are in actions, {sum(book.claimed.values())} of "
                f"{sum(promised.values())} are claimed",
            )


class TrueEvents(Checker):
    """The ledger applies the contract's events: each once, in order, deep enough, by a quorum's votes, for good."""

    name = "true events"

    def __init__(self) -> None:
        self._height = 0
        self._votes: dict[int, dict[bytes, Said]] = {}
        self._applied: list[bytes] = []
        """Transaction of each event."""
        self._credits: list[tuple[bytes, int]] = []
        self._cluster: ClusterView

    def begin(self, cluster: ClusterView) -> None:
        """Whose chain it is."""
        self._cluster = cluster

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """Votes first, then what came of them."""
        layer2 = self._cluster.layer2
        if layer2 is None or node.is_faulty or block.height != self._height + 1:
            return
        self._height = block.height
        for raw, receipt in zip(block.bodies, block.receipts, strict=True):
            body = _body_of(raw, ObserveL2) if receipt.status == "ok" else None
            if body is not None:
                said = (
                    body.kind, body.payload, body.block_number, body.block_hash, body.transaction_hash, body.log_index,
                )  # fmt: skip
                self._votes.setdefault(body.event_nonce, {})[body.from_] = said
            self._apply(node, layer2, receipt.events)
        self._apply(node, layer2, block.end_events)

    def layer2(self, layer2: Layer2View) -> None:
        """What was applied still stands."""
        events = layer2.chain.events()[: len(self._applied)]
        if [event.transaction_hash for event in events] != self._applied:
            raise PromiseBroken(
                None, f"the ledger applied {len(self._applied)} events, the chain has others: {len(events)} of them"
            )

    def _apply(self, node: NodeView, layer2: Layer2View, events: Iterable[Event]) -> None:
        for event in events:
            if event.kind == "Layer2Mismatch":
                raise PromiseBroken(node.index, "the contract did what the ledger had not asked for")
            if event.kind == DepositCredited.__name__:
                credited = decode(DepositCredited, event.data)
                self._credits.append((credited.account, uint(credited.amount)))
            elif event.kind == Layer2Applied.__name__:
                self._check(node, layer2, decode(Layer2Applied, event.data))

    def _check(self, node: NodeView, layer2: Layer2View, applied: Layer2Applied) -> None:
        number, chain = applied.event_nonce, layer2.chain
        if number != len(self._applied):
            raise PromiseBroken(node.index, f"event {number} was applied after {len(self._applied)} events")
        events = chain.events()
        if number >= len(events):
            raise PromiseBroken(node.index, f"event {number} was applied, the contract has emitted {len(events)}")
        event = events[number]
        if (event.kind, event.transaction_hash) != (applied.kind, applied.transaction_hash):
            raise PromiseBroken(node.index, f"event {number} is a {event.kind}, a {applied.kind} was applied")
        depth = chain.head.number - event.block_number
        if depth < layer2.options.confirmations:
            raise PromiseBroken(node.index, f"event {number} was applied {depth} blocks below the head")
        epoch = node.replica.epoch
        operators = {member.operator for member in epoch.members}
        votes = self._votes.get(number, {})
        equal = sum(who in operators and said == _said(event) for who, said in votes.items())
        if equal < Quorum(len(epoch.members)).quorum:
            raise PromiseBroken(node.index, f"event {number} was applied by {equal} votes of {len(epoch.members)}")
        self._applied.append(event.transaction_hash)
        credits_ = [decode(DepositSeen, each.payload) for each in events[: number + 1] if each.kind == "deposit"]
        if self._credits != [(each.account, uint(each.amount)) for each in credits_]:
            raise PromiseBroken(node.index, f"by event {number}, deposits are {credits_}, credited {self._credits}")


def _said(event: Layer2Event) -> Said:
    return (
        event.kind, event.payload, event.block_number, event.block_hash, event.transaction_hash, event.log_index,
    )  # fmt: skip


def _body_of(raw: bytes, kind: type[B]) -> B | None:
    """The body of a signed transaction of a kind; None for another kind's."""
    signed = msgspec.msgpack.decode(raw, type=SignedTransaction)
    return decode(kind, signed.body) if signed.kind == kind.__name__ else None
