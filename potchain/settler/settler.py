"""The settler's one task: look at both sides, ask `reconcile`, carry out its steps.

Theory of operation. A look at Layer 2 runs beside the loop and has a deadline, so a dead endpoint delays no signature
and no vote, and nothing here ever waits for consensus or makes it wait. The back end is called by one coroutine at a
time: either the look, or the steps that follow it. Looks come every `poll`; after a failed one the pause doubles up to
BACKOFF_MAX_NS. In between, each certified block wakes the loop for what the ledger alone needs.

Every transaction for Layer 2 is written down before it is sent, and followed after a restart before another is made.
An error of the back end that the interface does not know is a stranger's bug: it becomes the fault "rubbish" and is
tried again like any other, because a plug-in must not end a node that is a validator too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import structlog

from potchain.api.ports import SettlementStatus
from potchain.crypto import SigningKey
from potchain.driver.clock import Clock
from potchain.errors import LedgerError, SettlementError
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.settlement import Contract, Prepared, SettlementBackend
from potchain.settlement.report import SettlerReport
from potchain.settler.duties import sign_body, sign_subject, vote_body, vote_subject
from potchain.settler.intents import scope_of
from potchain.settler.memory import Fault, Memory, Sight, Subject, backoff_ns
from potchain.settler.ports import IntentStore, LedgerPort, MakeBackend
from potchain.settler.reconcile import SettlerOptions, reconcile
from potchain.settler.report import OFF
from potchain.settler.steps import Forget, Prepare, Sign, Step, Submit, Vote
from potchain.settler.view import LedgerView
from potchain.transactions import Transaction, TransactionBody

log = structlog.get_logger("settler")

CALL_DEADLINE_S = 30
"""One call of the back end; it has a shorter deadline of its own."""
DUTIES_MAX = 32
"""Own transactions of the ledger on their way at once."""
REST_MIN_MS = 100
"""Pause between two ticks, however fast blocks come."""

_STRANGERS_FAULTS = (
    ImportError, NameError, AttributeError, TypeError, ValueError, LookupError, ArithmeticError, AssertionError,
    OSError, EOFError, RuntimeError,
)  # fmt: skip
"""What a back end raises by mistake."""

T = TypeVar("T")


class Settler:
    """Settles for one node, as long as `run` runs; `tick` is one round of it, for tests and the simulator."""

    def __init__(
        self,
        *,
        backend: str,
        make_backend: MakeBackend,
        intents: IntentStore,
        clock: Clock,
        genesis_hash: bytes,
        operator: SigningKey | None,
        options: SettlerOptions,
        poll_ms: int,
    ) -> None:
        """`backend`: its name, for the status. `operator` signs and votes; without it the chain is only watched."""
        self._name = backend
        self.make_backend = make_backend
        self._store = intents
        self._clock = clock
        self._genesis_hash = genesis_hash
        self._operator = operator
        self._options = options
        self._poll_ns = poll_ms * NS_PER_MS
        self._ledger: LedgerPort
        self._contract: Contract | None = None
        self._scope = b""
        self._backend: SettlementBackend | None = None
        self._is_open = False
        self._intents: dict[bytes, Prepared] | None = None
        """As stored; None until they are read."""
        self._memory = Memory()
        self._report: SettlerReport = OFF
        self._failures = 0
        """Looks that failed in a row."""
        self._look_due_ns = 0
        self._looking: asyncio.Task[Sight | Fault] | None = None
        self._last_bug = ""

    # --- out --------------------------------------------------------------------------------------------------------

    def attach(self, ledger: LedgerPort) -> None:
        """The node that this settler works for; before anything else."""
        self._ledger = ledger

    def status(self) -> SettlementStatus:
        """As of the last tick."""
        return SettlementStatus(
            backend=self._name,
            operator=self._operator.address if self._operator else None,
            relay_account=self._options.relay.account or None,
            contract=self._contract,
            report=self._report,
        )

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            view = self._view()
            await self._bind(view.contract)
            if self._looking is None and self._contract and self._clock.now().monotonic_ns >= self._look_due_ns:
                self._looking = asyncio.get_running_loop().create_task(self._look(view))
            seen = None
            if self._looking is not None and self._looking.done():
                seen, self._looking = self._looking.result(), None
                self._schedule(seen)
            await self._act(seen)
            await self._rest(view.certified_height)

    async def tick(self) -> SettlerReport:
        """One look, whatever the time, and what follows from it."""
        view = self._view()
        await self._bind(view.contract)
        seen = await self._look(view) if self._contract else None
        await self._act(seen)
        return self._report

    async def close(self) -> None:
        """End the look under way and every connection. What is written down is for the next start."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            self._looking = None
        await self._part()

    # --- looking ----------------------------------------------------------------------------------------------------

    def _view(self) -> LedgerView:
        return self._ledger.settlement_view(self._operator.address if self._operator else b"")

    async def _bind(self, contract: Contract | None) -> None:
        """Turn to the contract that is bound now. What was known of another one is of no use."""
        if contract == self._contract:
            return
        await self.close()
        self._contract, self._intents, self._memory = contract, None, Memory()
        self._scope = scope_of(self._genesis_hash, contract) if contract else b""
        self._failures, self._look_due_ns = 0, 0
        if contract:
            log.info("settling", backend=self._name, chain=contract.chain_id, contract="0x" + contract.address.hex())

    async def _look(self, view: LedgerView) -> Sight | Fault:
        """Everything that is to be known of Layer 2, or why not."""
        try:
            intents, stop = await self._stored()
            backend = await self._opened()
            first, last = view.next_event, self._memory.last_applied(view.next_event)
            if last is not None and not await self._called(backend.stands(last)):
                first = last.event_nonce
            chain = await self._called(backend.observe(first))
            relays = {}
            for intent in intents:
                relays[intent.transaction_hash] = await self._called(backend.follow(intent))
            return Sight(
                since=view, chain=chain, relays=relays, first=first, relay_ahead=backend.relay_ahead, stop=stop
            )
        except SettlementError as error:
            return Fault(error.code, error.detail)

    async def _opened(self) -> SettlementBackend:
        assert self._contract is not None
        if self._backend is None:
            self._backend = await self._called(self.make_backend(self._contract))
        if not self._is_open:
            await self._called(self._backend.open())
            self._is_open = True
        return self._backend

    async def _stored(self) -> tuple[tuple[Prepared, ...], Fault | None]:
        """Everything that is written down, or why it cannot be read."""
        if self._intents is None:
            try:
                found = await self._store.load(self._scope)
            except LedgerError as error:
                return (), Fault("storage", str(error))
            self._intents = {intent.transaction_hash: intent for intent in found}
            if found:
                log.info("follows transactions of an earlier run", count=len(found))
        return tuple(self._intents.values()), None

    async def _called(self, call: Awaitable[T]) -> T:
        """A call of the back end. Raises SettlementError and nothing else."""
        try:
            async with asyncio.timeout(CALL_DEADLINE_S):
                return await call
        except TimeoutError:
            raise SettlementError("unreachable", f"the back end gave no answer within {CALL_DEADLINE_S} s") from None
        except _STRANGERS_FAULTS as bug:
            text = f"the back end failed: {type(bug).__name__}: {bug}"
            if text != self._last_bug:
                log.error("a bug in the back end", backend=self._name, exc_info=bug)
                self._last_bug = text
            raise SettlementError("rubbish", text) from bug

    def _schedule(self, seen: Sight | Fault) -> None:
        """When to look next."""
        self._failures = self._failures + 1 if isinstance(seen, Fault) else 0
        pause_ns = max(self._poll_ns, backoff_ns(self._failures)) if self._failures else self._poll_ns
        self._look_due_ns = self._clock.now().monotonic_ns + pause_ns

    async def _rest(self, certified_height: int) -> None:
        """Until a block is certified, the look ends, or it is time for the next one."""
        waiter = asyncio.ensure_future(self._wait(certified_height))
        others = {waiter} if self._looking is None else {waiter, self._looking}
        try:
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)

    async def _wait(self, certified_height: int) -> None:
        await asyncio.sleep(REST_MIN_MS / 1_000)
        timeout_s = self._poll_ns / NS_PER_S
        await self._ledger.wait_height(certified_height + 1, certified=True, timeout_s=timeout_s)

    async def _part(self) -> None:
        backend, self._backend, self._is_open = self._backend, None, False
        if backend is not None:
            await backend.close()

    # --- carrying out -----------------------------------------------------------------------------------------------

    async def _act(self, seen: Sight | Fault | None) -> None:
        before = self._report
        intents = tuple(self._intents.values()) if self._intents is not None else ()
        view = self._view()
        outcome = reconcile(view, seen, intents, self._clock.now(), self._options, self._memory)
        self._memory, self._report = outcome.memory, outcome.report
        _tell(before, outcome.report)
        await self._duties(view, outcome.steps)
        await self._relay(outcome.steps)

    async def _duties(self, view: LedgerView, steps: Sequence[Step]) -> None:
        """Signatures and votes, as transactions of the ledger."""
        key, room = self._operator, DUTIES_MAX - max(0, view.next_nonce - view.account_nonce)
        due = [step for step in steps if isinstance(step, Sign | Vote)][: max(0, room)]
        refused, now_ns = self._memory.refused, self._clock.now().monotonic_ns
        if key is None or not due or (refused is not None and now_ns < refused.retry_ns):
            return
        subjects: list[Subject] = []
        transactions: list[Transaction] = []
        for nonce, step in enumerate(due, view.next_nonce):
            body: TransactionBody
            if isinstance(step, Sign):
                body = sign_body(key.address, nonce, step.action_nonce, key.sign_digest(step.digest))
                subjects.append(sign_subject(step))
            else:
                body = vote_body(key.address, nonce, step.event)
                subjects.append(vote_subject(step))
            transactions.append(self._ledger.types.sign(body, key))
        try:
            outcomes = await self._ledger.submit(transactions)
        except LedgerError as error:
            self._memory = self._memory.refused_with("submission", str(error), now_ns)
            return
        for subject, transaction, outcome in zip(subjects, transactions, outcomes, strict=True):
            if outcome.status != "refused":
                self._memory = self._memory.sent_at(subject, transaction.nonce)
                continue
            text = f"the own pool refused a {transaction.kind}: {outcome.code}: {outcome.detail}"
            self._memory = self._memory.refused_with("submission", text, now_ns)

    async def _relay(self, steps: Sequence[Step]) -> None:
        """What concerns Layer 2, in order; after a failure the rest waits for the next look."""
        for step in steps:
            if isinstance(step, Prepare | Submit | Forget) and not await self._carried_out(step):
                return

    async def _carried_out(self, step: Prepare | Submit | Forget) -> bool:
        assert self._backend is not None
        assert self._intents is not None
        try:
            if isinstance(step, Forget):
                await self._store.remove(self._scope, step.prepared)
                self._intents.pop(step.prepared.transaction_hash, None)
                log.info("no longer follows a transaction", **_named(step.prepared), reason=step.reason)
                return True
            if isinstance(step, Submit):
                return await self._sent(step.prepared)
            prepared = await self._prepared(step)
            # From here on the transaction may exist: it is durable before anybody else can see it.
            await self._store.put(self._scope, prepared)
            self._intents[prepared.transaction_hash] = prepared
            log.info("relays an action", **_named(prepared), attempt=prepared.attempt)
            return await self._sent(prepared)
        except SettlementError as error:
            failure = Fault(error.code, error.detail)
        except LedgerError as error:
            failure = Fault("storage", str(error))
            self._intents = None  # what is durable is read again
        nonce = step.ready.action.nonce if isinstance(step, Prepare) else step.prepared.action_nonce
        self._memory = self._memory.failed(nonce, failure, self._clock.now().monotonic_ns)
        log.warning("cannot relay", action=nonce, code=failure.code, reason=failure.text)
        return False

    async def _prepared(self, step: Prepare) -> Prepared:
        """A transaction that fits what is under way. Raises SettlementError."""
        assert self._backend is not None
        assert self._intents is not None
        prepared = await self._called(
            self._backend.prepare(step.ready, self._clock.now().unix_ms, step.replaces)
        )
        clash = next(
            (
                intent
                for intent in self._intents.values()
                if (intent.account, intent.account_nonce) == (prepared.account, prepared.account_nonce)
            ),
            None,
        )
        is_same_place = step.replaces is not None and step.replaces.account_nonce == prepared.account_nonce
        if prepared.action_nonce != step.ready.action.nonce or (clash is not None) != is_same_place:
            raise SettlementError(
                "rubbish",
                f"the back end prepared action {prepared.action_nonce} with account nonce {prepared.account_nonce}, "
                f"which does not fit action {step.ready.action.nonce} and what is under way",
            )
        return prepared

    async def _sent(self, prepared: Prepared) -> bool:
        assert self._backend is not None
        self._memory = self._memory.submitted(prepared.transaction_hash, self._clock.now().monotonic_ns)
        await self._called(self._backend.submit(prepared))
        return True


def _named(prepared: Prepared) -> dict[str, object]:
    return {
        "action": prepared.action_nonce,
        "transaction": "0x" + prepared.transaction_hash.hex(),
        "account_nonce": prepared.account_nonce,
    }


def _tell(before: SettlerReport, now: SettlerReport) -> None:
    """Into the log, once: what stands in the way, that it is gone, that the chain was reorganised."""
    if now.reorgs > before.reorgs:
        log.warning("Layer 2 was reorganised", what=now.reorg_text)
    code_before = before.fault.code if before.fault else ""
    if now.fault is not None and now.fault.code != code_before:
        level = log.critical if now.fault.code == "reorg_beyond_confirmations" else log.warning
        level("settlement waits", code=now.fault.code, reason=now.fault.text)
    elif now.fault is None and code_before:
        log.info("settlement goes on", was=code_before)
