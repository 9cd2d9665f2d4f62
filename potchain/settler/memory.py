"""What a settler remembers between ticks. All of it may be lost: a restart costs some time and perhaps a little gas.

Durable are only the prepared transactions (`intents`); what they became of is asked of the chain again. Values here are
frozen: `reconcile` and the settler make new ones. Every mapping has a bound or is cut to what still exists.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from potchain.primitives import NS_PER_S
from potchain.settlement import ChainView, ContractState, Layer2Event, Prepared, RelayState
from potchain.settlement.report import SettlerFault
from potchain.settler.view import LedgerView

BACKOFF_FIRST_NS = NS_PER_S
"""Wait after a first failure; it doubles with each one that follows."""
BACKOFF_MAX_NS = 60 * NS_PER_S
"""Longest wait between two tries."""
HEADS_MAX = 256
"""Newest blocks of Layer 2 whose hashes are compared."""
EVENTS_MAX = 256
"""Confirmed events whose contents are compared."""
DETAIL_MAX = 500
"""Characters of an error's text that are kept."""


class Fault(msgspec.Struct, frozen=True):
    """A look that failed, or anything else that stands in the way: code and text of a SettlementError."""

    code: str
    text: str


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """One complete look at Layer 2: the contract, and what became of each prepared transaction."""

    since: LedgerView
    """The ledger when the look began: what came later may rest on blocks that were not there yet."""
    chain: ChainView
    relays: Mapping[bytes, RelayState]
    """By transaction hash."""
    first: int
    """Event nonce that was asked for: that of an applied event when its block is no longer there."""
    relay_ahead: int = 1
    """Actions in a row that the back end can have under way."""
    stop: Fault | None = None
    """Why nothing may be relayed although the chain was seen: what is written down could not be read."""


class Tried(msgspec.Struct, frozen=True):
    """When a transaction was first and last sent by this process (monotonic), and the chain's height at first."""

    first_ns: int
    last_ns: int
    head_number: int


class Failure(msgspec.Struct, frozen=True):
    """Why an action could not be relayed, and when to try again."""

    code: str
    text: str
    count: int
    retry_ns: int
    """Monotonic."""
    mark: tuple[int, ...]
    """`mark_of` the contract then: when that changes, the reason may be gone."""

    def holds(self, now_ns: int, mark: tuple[int, ...]) -> bool:
        """Whether to wait still."""
        return now_ns < self.retry_ns and self.mark == mark


class Mined(msgspec.Struct, frozen=True):
    """An own transaction that executed an action."""

    prepared: Prepared
    again_ns: int = 0
    """When it may be sent once more, if the chain has lost it (monotonic)."""


Subject = tuple[str, int, bytes]
"""What an own transaction of the ledger is about: ("sign", action nonce, digest) or ("vote", event nonce, hash)."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    sight: Sight | None = None
    """The last look that succeeded."""
    looked_ms: int | None = None
    """When, Unix ms."""
    chain_fault: Fault | None = None
    """Why the last look failed; None when it did not."""
    fault: SettlerFault | None = None
    """As last reported."""
    sent: Mapping[Subject, int] = {}
    """Nonces of own transactions of the ledger that may not be executed yet."""
    refused: Failure | None = None
    """The node's pool refused one."""
    relayable_ns: Mapping[int, int] = {}
    """When an action was first seen that could be relayed at once, by nonce (monotonic)."""
    tried: Mapping[bytes, Tried] = {}
    counted: frozenset[bytes] = frozenset()
    """Reverted transactions that are in `failures` already."""
    failures: Mapping[int, Failure] = {}
    """By action nonce."""
    mined: Mapping[int, Mined] = {}
    """Newest own transactions that executed something, by action nonce."""
    heads: Mapping[int, bytes] = {}
    """Hashes of Layer 2 blocks, by number."""
    events: Mapping[int, Layer2Event] = {}
    """Confirmed events as last seen, by nonce."""
    reorgs: int = 0
    reorg_text: str = ""

    def last_applied(self, next_event: int) -> Layer2Event | None:
        """The newest event that the ledger has applied and this process has seen confirmed."""
        return self.events.get(max((nonce for nonce in self.events if nonce < next_event), default=-1))

    def sent_at(self, subject: Subject, nonce: int) -> Memory:
        """An own transaction of the ledger is on its way."""
        return msgspec.structs.replace(self, sent={**self.sent, subject: nonce}, refused=None)

    def refused_with(self, code: str, text: str, now_ns: int) -> Memory:
        """The node's own pool refused a transaction."""
        return msgspec.structs.replace(self, refused=_failure(self.refused, code, text, now_ns, ()))

    def submitted(self, transaction_hash: bytes, now_ns: int) -> Memory:
        """A transaction was handed to the endpoints, or that was tried."""
        head = self.sight.chain.head_number if self.sight else 0
        before = self.tried.get(transaction_hash)
        tried = Tried(now_ns, now_ns, head) if before is None else msgspec.structs.replace(before, last_ns=now_ns)
        return msgspec.structs.replace(self, tried={**self.tried, transaction_hash: tried})

    def failed(self, action_nonce: int, fault: Fault, now_ns: int) -> Memory:
        """An action could not be relayed."""
        mark = mark_of(self.sight.chain.contract) if self.sight else ()
        failure = _failure(self.failures.get(action_nonce), fault.code, fault.text, now_ns, mark)
        return msgspec.structs.replace(self, failures={**self.failures, action_nonce: failure})


def mark_of(contract: ContractState) -> tuple[int, ...]:
    """What of the contract may make a refused action possible."""
    return contract.next_nonce, contract.epoch, contract.deposited, contract.allocated, int(contract.paused)


def backoff_ns(count: int) -> int:
    """Wait after the `count`-th failure in a row, from 1.

    >>> [backoff_ns(count) // NS_PER_S for count in (1, 2, 6, 7, 400)]
    [1, 2, 32, 60, 60]
    """
    return min(BACKOFF_MAX_NS, BACKOFF_FIRST_NS << min(count - 1, 16))


def _failure(before: Failure | None, code: str, text: str, now_ns: int, mark: tuple[int, ...]) -> Failure:
    count = before.count + 1 if before is not None and before.code == code else 1
    return Failure(code, text[:DETAIL_MAX], count, now_ns + backoff_ns(count), mark)
