"""Which transactions this node makes, sends again, replaces or strikes out now. Pure.

Theory of operation. The contract executes actions in the order of their nonces and each once, whoever brings it: that
is what makes payment exact. Everything here only saves time and gas.

*Whose turn.* Operators take turns by their place in the sorted list: (nonce // RELAY_AHEAD_MAX + elapsed // relay_turn)
mod n, elapsed by each settler's own monotonic clock since it saw the action relayable. Nonces go in groups, because
transactions of one account keep their order in a block and those of two do not. An outsider, who has a relay key and
is no operator, waits until every operator had a turn. Who has begun goes on: its account nonce must be used up anyway.

*One at a time.* While a transaction for an action may still be mined, none with another account nonce is made for it;
a replacement takes the same account nonce. The exception: an account nonce that is stuck and holds up higher ones,
while its own action was executed by another, goes to the oldest open action, even if that has a higher account nonce
already: the lower one must be mined first, so the higher one is then refused, and that is all.

*Not cancelled.* When another relayer was faster our transaction is left to be refused: its account nonce is used up
by that, and a cancellation would cost as much. If it still waits when this node relays its next action, that one takes
its account nonce.

*Nothing new beside a hole.* A transaction that no endpoint knows is sent again before anything new is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from potchain.primitives import NS_PER_MS, NS_PER_S, UINT64_MAX
from potchain.settlement import Prepared, ReadyAction
from potchain.settlement.report import ActionPhase
from potchain.settler.memory import Failure, Fault, Memory, Sight, mark_of
from potchain.settler.slots import Slot
from potchain.settler.steps import Forget, Prepare, Step, Submit
from potchain.settler.view import LedgerAction, LedgerView

RELAY_AHEAD_MAX = 4
"""Actions in a row that one relayer has under way, if its back end can; also how many share a turn, on all nodes."""
ATTEMPTS_MAX = 16
"""Transactions for one account nonce; after that the newest is only sent again."""
INTENTS_MAX = 64
"""Prepared transactions that are followed; nothing new is prepared beyond."""
RESEND_NS = 2 * NS_PER_S
"""An endpoint may take this long to show a transaction that it took."""


class RelayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator chose."""

    account: bytes = b""
    """Address of the relay key; empty when this node does not relay."""
    confirmations: int = 15
    turn_ns: int = 30 * NS_PER_S
    stuck_after_ns: int = 60 * NS_PER_S


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far an action is on its way to the contract."""

    phase: ActionPhase
    turn: bytes = b""
    failure: Failure | None = None


class RelayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, and how far everything is."""

    steps: tuple[Step, ...]
    standings: Mapping[int, Standing]
    """By action nonce, of signed actions and of those that the contract has executed."""
    memory: Memory


def plan_relays(
    ledger: LedgerView,
    sight: Sight,
    slots: Sequence[Slot],
    now_ns: int,
    options: RelayOptions,
    memory: Memory,
    stop: Fault | None,
) -> RelayPlan:
    """`stop`: nothing is sent because of it, but everything is followed."""
    return _Planner(ledger, sight, slots, now_ns, options, memory, stop).plan()


def turn_of(operators: Sequence[bytes], nonce: int, elapsed_ns: int, turn_ns: int) -> bytes:
    """The operator whose turn it is; empty without operators."""
    if not operators:
        return b""
    return operators[(nonce // RELAY_AHEAD_MAX + elapsed_ns // turn_ns) % len(operators)]


def ready_action(entry: LedgerAction) -> ReadyAction:
    """An action with as many signatures as its owners' threshold, sorted by owner."""
    assert entry.owners is not None
    return ReadyAction(
        action=entry.action,
        digest=entry.digest,
        signatures=tuple(sorted(entry.signatures)[: entry.owners.threshold]),
    )


class _Planner:
    def __init__(
        self,
        ledger: LedgerView,
        sight: Sight,
        slots: Sequence[Slot],
        now_ns: int,
        options: RelayOptions,
        memory: Memory,
        stop: Fault | None,
    ) -> None:
        self._ledger = ledger
        self._chain = chain = sight.chain
        self._ahead = min(RELAY_AHEAD_MAX, max(1, sight.relay_ahead))
        self._slots = slots
        self._live = [slot for slot in slots if self._may_be_mined(slot, memory, now_ns, options)]
        self._now_ns = now_ns
        self._options = options
        self._memory = memory
        self._stop = stop
        self._next = chain.contract.next_nonce
        self._mark = mark_of(chain.contract)
        self._steps: list[Step] = []
        self._standings: dict[int, Standing] = {}

    def plan(self) -> RelayPlan:
        self._count_refusals()
        self._note_relayable()
        self._forget()
        if self._stop is None:
            self._resend()
        self._actions()
        if self._stop is None:
            self._unblock()
        return RelayPlan(steps=tuple(self._steps), standings=self._standings, memory=self._memory)

    # --- what is under way ------------------------------------------------------------------------------------------

    def _may_be_mined(self, slot: Slot, memory: Memory, now_ns: int, options: RelayOptions) -> bool:
        if not slot.is_live:
            return False
        # A former relay key's transaction can be sent again, not replaced: it must not block the present key for good.
        return slot.account == options.account or not self._is_old(slot, memory, now_ns, options)

    @staticmethod
    def _is_old(slot: Slot, memory: Memory, now_ns: int, options: RelayOptions) -> bool:
        tried = memory.tried.get(slot.newest.transaction_hash)
        return tried is not None and now_ns - tried.first_ns >= options.stuck_after_ns

    def _is_stuck(self, slot: Slot) -> bool:
        """It waited too long, and blocks were made that left it out."""
        tried = self._memory.tried.get(slot.newest.transaction_hash)
        return (
            tried is not None
            and self._chain.head_number > tried.head_number
            and self._is_old(slot, self._memory, self._now_ns, self._options)
            and slot.account == self._options.account
            and len(slot.attempts) < ATTEMPTS_MAX
            and slot is self._lowest()
        )

    def _lowest(self) -> Slot | None:
        """The slot that all later ones of the account wait for."""
        own = [slot for slot in self._live if slot.account == self._options.account]
        return own[0] if own else None

    def _slot_of(self, action_nonce: int) -> Slot | None:
        return next((slot for slot in self._live if slot.holds(action_nonce)), None)

    def _count_refusals(self) -> None:
        """A reverted transaction is a failure of its action, once."""
        here = {attempt.transaction_hash for slot in self._slots for attempt in slot.attempts}
        counted = self._memory.counted & here
        memory = self._memory
        for slot in self._slots:
            by = slot.settled_by
            if slot.state != "reverted" or by is None or by.transaction_hash in counted:
                continue
            counted |= {by.transaction_hash}
            if by.action_nonce >= self._next:
                why = Fault("reverted", slot.detail or "no reason given")
                memory = memory.failed(by.action_nonce, why, self._now_ns)
        failures = {nonce: each for nonce, each in memory.failures.items() if nonce >= self._next}
        tried = {each: when for each, when in memory.tried.items() if each in here}
        for each in here - set(tried):  # found after a restart: its time begins now
            memory = memory.submitted(each, self._now_ns - RESEND_NS)
            tried[each] = memory.tried[each]
        self._memory = msgspec.structs.replace(memory, counted=counted, failures=failures, tried=tried)

    def _note_relayable(self) -> None:
        """Clocks of the turns."""
        before = self._memory.relayable_ns
        nonces = [
            entry.action.nonce
            for entry in self._ledger.actions
            if entry.is_signed and self._next <= entry.action.nonce < self._next + self._ahead
        ]
        since = {nonce: before.get(nonce, self._now_ns) for nonce in nonces}
        self._memory = msgspec.structs.replace(self._memory, relayable_ns=since)

    # --- forgetting and sending again -------------------------------------------------------------------------------

    def _forget(self) -> None:
        for slot in self._slots:
            reason = self._reason_to_forget(slot)
            if reason:
                self._steps += [Forget(prepared=attempt, reason=reason) for attempt in slot.attempts]
                self._live = [each for each in self._live if each is not slot]

    def _reason_to_forget(self, slot: Slot) -> str:
        if slot.state == "replaced":
            return "an unknown transaction of the relay account has its nonce"
        if slot.state == "reverted" and slot.confirmations >= self._options.confirmations:
            return "refused by the contract, and confirmed"
        if any(attempt.action_nonce >= self._ledger.next_executed for attempt in slot.attempts):
            return ""
        if not slot.is_live:
            return "the ledger has the receipt"
        if slot.state == "unknown" and not self._blocks_others(slot):
            return "another relayer executed the action, and no endpoint has the transaction"
        return ""

    def _blocks_others(self, slot: Slot) -> bool:
        return any(
            other.account == slot.account and other.account_nonce > slot.account_nonce for other in self._live
        )

    def _resend(self) -> None:
        for slot in self._live:
            if slot.state == "unknown" and self._is_needed(slot) and self._waited(slot):
                self._steps.append(Submit(prepared=slot.newest))

    def _is_needed(self, slot: Slot) -> bool:
        """Whether something waits for it: its action, or an account nonce above it."""
        return slot.newest.action_nonce in self._memory.relayable_ns or self._blocks_others(slot)

    def _waited(self, slot: Slot) -> bool:
        tried = self._memory.tried.get(slot.newest.transaction_hash)
        return tried is None or self._now_ns - tried.last_ns >= RESEND_NS

    # --- the actions ------------------------------------------------------------------------------------------------

    def _actions(self) -> None:
        funds = self._chain.contract.deposited - self._chain.contract.allocated
        # Everything before is under way by this node, and nothing has to be sent again.
        clear = not any(slot.state == "unknown" and self._is_needed(slot) for slot in self._live)
        for entry in self._ledger.actions:
            nonce = entry.action.nonce
            if nonce < self._next:
                by_us = any(slot.state == "mined" and slot.holds(nonce) for slot in self._slots)
                self._standings[nonce] = Standing(phase="mined" if by_us else "executed")
                continue
            if not entry.is_signed:
                break
            clear = self._action(entry, funds, clear)
            funds -= entry.total
        if self._stop is not None:
            self._blocked_by_stop(self._stop)

    def _action(self, entry: LedgerAction, funds: int, clear: bool) -> bool:
        """Stand of one signed action, and the step it needs; whether the next one may go too."""
        nonce = entry.action.nonce
        slot = self._slot_of(nonce)
        failure = self._memory.failures.get(nonce)
        if slot is not None:
            self._standings[nonce] = Standing(phase=self._phase(slot), failure=failure)
            self._replace(entry, slot, failure)
            return clear
        if any(each.state == "mined" and each.holds(nonce) for each in self._slots):
            self._standings[nonce] = Standing(phase="mined")
            return clear
        blocked = self._blocked(entry, funds, failure)
        if blocked is not None:
            phase: ActionPhase = "reverted" if blocked.code == "reverted" else "blocked"
            self._standings[nonce] = Standing(phase=phase, failure=blocked)
            return False
        if nonce >= self._next + self._ahead:
            self._standings[nonce] = Standing(phase="ordered")
            return False
        mine, turn = self._turn(nonce)
        if not mine:
            self._standings[nonce] = Standing(phase="turn", turn=turn, failure=failure)
            return False
        if not clear or self._stop is not None or self._intents() >= INTENTS_MAX:
            self._standings[nonce] = Standing(phase="ordered", turn=turn, failure=failure)
            return False
        self._standings[nonce] = Standing(phase="sending", turn=turn, failure=failure)
        self._steps.append(Prepare(ready=ready_action(entry), replaces=self._superseded()))
        return True

    def _phase(self, slot: Slot) -> ActionPhase:
        if slot.state == "pending":
            return "pending"
        return "dropped" if self._waited(slot) else "sending"

    def _replace(self, entry: LedgerAction, slot: Slot, failure: Failure | None) -> None:
        waits = failure is not None and failure.holds(self._now_ns, self._mark)
        if self._stop is None and not waits and slot.newest.action_nonce == entry.action.nonce and self._is_stuck(slot):
            self._steps = [step for step in self._steps if step != Submit(prepared=slot.newest)]
            self._steps.append(Prepare(ready=ready_action(entry), replaces=slot.newest))

    def _turn(self, nonce: int) -> tuple[bool, bytes]:
        operators = self._ledger.operators
        elapsed_ns = self._now_ns - self._memory.relayable_ns.get(nonce, self._now_ns)
        turn = turn_of(operators, nonce, elapsed_ns, self._options.turn_ns)
        if self._ledger.operator in operators:
            return turn == self._ledger.operator, turn
        return elapsed_ns // self._options.turn_ns >= len(operators), turn

    def _blocked(self, entry: LedgerAction, funds: int, failure: Failure | None) -> Failure | None:
        """Why it makes no sense to try now."""
        pays = entry.action.kind in ("batch", "root")
        if not self._options.account:
            return self._failure("not_configured", "this node has no relay key; others relay")
        if pays and self._chain.contract.paused:
            return self._failure("paused", "the contract is paused")
        if pays and entry.total > funds:
            return self._failure(
                "underfunded",
                f"action {entry.action.nonce} pays {entry.total}, and the contract has {max(0, funds)} that are "
                f"not allocated; deposit the difference",
            )
        if failure is not None and failure.holds(self._now_ns, self._mark):
            return failure
        return None

    def _failure(self, code: str, text: str) -> Failure:
        return Failure(code, text, 0, self._now_ns, self._mark)

    def _intents(self) -> int:
        prepared = sum(isinstance(step, Prepare) for step in self._steps)
        return sum(len(slot.attempts) for slot in self._slots) + prepared

    # --- account nonces that another relayer's success left behind --------------------------------------------------

    def _superseded(self) -> Prepared | None:
        """A transaction that still waits although its action is executed: the first that no step takes the place of."""
        taken = [step.replaces for step in self._steps if isinstance(step, Prepare)]
        for slot in self._live:
            is_free = slot.newest not in taken and len(slot.attempts) < ATTEMPTS_MAX
            if slot.account == self._options.account and slot.newest.action_nonce < self._next and is_free:
                return slot.newest
        return None

    def _unblock(self) -> None:
        """Give its account nonce to the oldest open action, although that has a higher one already."""
        superseded, lowest = self._superseded(), self._lowest()
        if superseded is None or lowest is None or superseded is not lowest.newest or not self._is_stuck(lowest):
            return
        entry = next((each for each in self._ledger.actions if each.action.nonce == self._next), None)
        if entry is None or not entry.is_signed or self._slot_of(self._next) is None:
            return
        failure = self._memory.failures.get(self._next)
        if failure is None or not failure.holds(self._now_ns, self._mark):
            self._steps.append(Prepare(ready=ready_action(entry), replaces=superseded))

    def _blocked_by_stop(self, stop: Fault) -> None:
        failure = Failure(stop.code, stop.text, 0, UINT64_MAX, self._mark)
        for nonce, standing in self._standings.items():
            if standing.phase in ("turn", "sending", "ordered"):
                self._standings[nonce] = Standing(phase="blocked", failure=failure)


def milliseconds_left(failure: Failure | None, now_ns: int) -> int:
    """Until the next try; 0 when that depends on something else than time."""
    if failure is None or failure.retry_ns == UINT64_MAX:
        return 0
    return max(0, failure.retry_ns - now_ns) // NS_PER_MS
