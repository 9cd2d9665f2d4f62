# ruff: noqa: ANN401 - what a replacement only hands on has the type of the original
"""Mutants of settlement: of the state machine's side, of the settler, and of what stands between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sim_settlement_scenarios
from sim_mutant_registry import mutant, patched

from potchain.application.accounts import credit_account
from potchain.application.settlement import application, forming, observing
from potchain.application.settlement.bodies import ActionFormed, DepositCredited
from potchain.application.settlement.records import Counters, counters, save_counters
from potchain.consensus.quorum import Quorum
from potchain.primitives import uint, uint256
from potchain.replica.chain import Chain
from potchain.settlement import Action, DepositSeen, Prepared
from potchain.settler import duties, reconcile, relaying
from potchain.settler.intents import SqlIntents
from potchain.settler.memory import Fault, Memory, Sight
from potchain.settler.view import LedgerView
from potchain.sim.layer2.endpoint import SimBackend
from potchain.transactions import Transaction

__all__ = ["sim_settlement_scenarios"]

# --- the state machine ------------------------------------------------------------------------------------------------


@mutant(
    "payouts stay pending",
    "an action that takes payouts up leaves them to the next one, too",
    {"a payout a batch": "paid once"},
)
def _pays_twice() -> Iterator[None]:
    original = forming._take_up

    def take_up(state: Any, count: int, made: Action) -> ActionFormed:
        formed = original(state, count, made)
        now = counters(state)
        save_counters(state, msgspec.structs.replace(now, next_batched=now.next_batched - 1))
        return formed

    with patched(forming, "_take_up", take_up):
        yield


@mutant(
    "event applied by a weak quorum",
    "f + 1 equal votes apply an event of Layer 2",
    {"withdrawals and deposits": "true events"},
)
def _weak_votes() -> Iterator[None]:
    class Weak:
        def __init__(self, n: int) -> None:
            self.quorum = Quorum(n).weak_quorum

    with patched(observing, "Quorum", Weak):
        yield


@mutant(
    "deposit credited twice",
    "a deposit is counted and credited twice, so that the books still balance",
    {"withdrawals and deposits": "true events"},
)
def _twice_credited() -> Iterator[None]:
    original = observing._deposit

    def deposit(state: Any, number: int, seen: DepositSeen) -> list[Any]:
        original(state, number, seen)
        credit_account(state, seen.account, uint(seen.amount))
        now = counters(state)
        sum_ = uint256(uint(now.credited) + uint(seen.amount))
        save_counters(state, msgspec.structs.replace(now, credited=sum_))
        return [DepositCredited(seen.account, uint256(2 * uint(seen.amount)))]

    with patched(observing, "_deposit", deposit):
        yield


@mutant(
    "paid and still owed",
    "a payout that was executed is kept",
    {"withdrawals and deposits": "conservation of money"},
)
def _kept_payouts() -> Iterator[None]:
    original = forming.drop

    def keep(state: Any, prefix: bytes, number: int) -> None:
        if prefix != forming.PAYOUT_PREFIX:
            original(state, prefix, number)

    with patched(forming, "drop", keep):
        yield


@mutant(
    "actions of the epoch before",
    "what is formed after a rotation carries the contract's epoch until the contract has executed it",
    {"withdrawals while the owners change": "exception"},
)
def _old_epoch() -> Iterator[None]:
    original = forming._made

    def made(context: Any, now: Counters, *rest: Any, **members: Any) -> Action:
        return original(context, msgspec.structs.replace(now, epoch=now.confirmed_epoch), *rest, **members)

    with patched(forming, "_made", made):
        yield


@mutant(
    "batches in a pause",
    "batches are formed although settlement is paused",
    {"withdrawals in a pause": "settled"},
)
def _formed_in_pause() -> Iterator[None]:
    def form(context: Any, state: Any) -> tuple[Any, ...]:
        paused = counters(state).paused
        save_counters(state, msgspec.structs.replace(counters(state), paused=False))
        events = forming.form(context, state)
        save_counters(state, msgspec.structs.replace(counters(state), paused=paused))
        return events

    with patched(application, "form", form):
        yield


@mutant(
    "more asked for than is there",
    "withdrawals that no deposit covers are taken, and actions take them up",
    {"withdrawals before the deposit that covers them": "paid once"},
)
def _uncovered() -> Iterator[None]:
    with patched(Counters, "unbatched", 2**64), patched(Counters, "withdrawable", 2**64):
        yield


# --- the settler ------------------------------------------------------------------------------------------------------


@mutant(
    "relayed and not written down",
    "a transaction for Layer 2 is sent without an intent on the disk",
    {"withdrawals and deposits": "written before relayed"},
)
def _no_intent() -> Iterator[None]:
    def forget(self: SqlIntents, scope: bytes, prepared: Prepared) -> None:
        """Nothing."""

    with patched(SqlIntents, "put", forget):
        yield


@mutant(
    "uncertified action signed",
    "an operator signs an action of a block that is executed and not final",
    {"block votes get lost while a batch is formed": "duties in time"},
)
def _signs_early() -> Iterator[None]:
    original = duties._is_mine_to_sign

    def mine(ledger: Any, entry: Any) -> bool:
        return original(msgspec.structs.replace(ledger, certified_height=entry.action.height), entry)

    with patched(duties, "_is_mine_to_sign", mine):
        yield


@mutant(
    "votes before confirmations",
    "an event counts as soon as it is in a block",
    {"blocks of deposits and batches are taken back": "duties in time"},
)
def _unconfirmed() -> Iterator[None]:
    with patched(SimBackend, "_confirmations", lambda self: 0):
        yield


@mutant(
    "behind is taken for taken back",
    "a settler whose endpoint lacks blocks says that the chain was reorganised",
    {"an endpoint that is far behind": "no false alarm"},
)
def _false_alarm() -> Iterator[None]:
    original = reconcile.contradiction

    def contradiction(ledger: LedgerView, sight: Sight, memory: Memory) -> Fault | None:
        since = msgspec.structs.replace(sight.since, event_block=-100)
        return original(ledger, msgspec.structs.replace(sight, since=since), memory)

    with patched(reconcile, "contradiction", contradiction):
        yield


@mutant(
    "turns that never pass",
    "the operator whose turn it is keeps it, however long it takes",
    {"the relayer of the first actions is down": "settled"},
)
def _first_turn_only() -> Iterator[None]:
    original = relaying.turn_of

    def turn_of(operators: Sequence[bytes], nonce: int, elapsed_ns: int, turn_ns: int) -> bytes:
        return original(operators, nonce, 0, turn_ns)

    with patched(relaying, "turn_of", turn_of):
        yield


# --- between them -----------------------------------------------------------------------------------------------------


@mutant(
    "late duties refused",
    "what a peer holds is taken only if it would succeed in the own state",
    {"a signature that comes too late, and an operator that says nothing": "settled"},
)
def _late_refused() -> Iterator[None]:
    original = Chain.admit

    def admit(self: Chain, transaction: Transaction, now_ns: int, **more: bool) -> tuple[str, str, str]:
        return original(self, transaction, now_ns, **{**more, "vouched": False})

    with patched(Chain, "admit", admit):
        yield
