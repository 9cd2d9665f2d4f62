"""Wrong engines and hosts, each of which the simulator must catch: a mutant that survives is a failed test.

A mutant is shipping code with one rule taken out, patched in this process. What kills it is a promise that a checker
or the cluster holds against every run, never something that the mutation itself would say. Its killing plans are
directed scenarios (`sim_scenarios`); shipping code gets through the same ones.

    python tests/sim_mutants.py                    every mutant on its killing plans, as a table
    python tests/sim_mutants.py --search NAME      which seeds of the random profiles kill a mutant
    python tests/sim_mutants.py --trace NAME       the first run that kills it, event by event
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
from sim_scenarios import RESULTS, SCENARIOS, play

from potchain import blocks
from potchain.application.execution import ExecutionResult, Executor
from potchain.blocks import BlockCertificate, ExecutedBlock, SyncBlock, receipts_root, skipped_receipt, vote_bytes
from potchain.consensus.interface import ConsensusMessage, ProposalChecked
from potchain.consensus.learning import LearnerTarget
from potchain.consensus.quorum import Quorum
from potchain.consensus.signer import Signer
from potchain.driver.incoming import Incoming
from potchain.errors import LedgerError
from potchain.ledger.votes import VoteLog
from potchain.ledger.writer import LedgerWriter
from potchain.pool import TransactionPool
from potchain.pool.interface import Admission
from potchain.primitives import NodeId
from potchain.replica import certifying
from potchain.replica.actions import Transmit
from potchain.replica.certifying import Certifier
from potchain.replica.chain import Chain
from potchain.replica.own_messages import OwnMessages
from potchain.replica.proposing import PendingCheck, ProposalDesk
from potchain.sim.campaign import run_plan
from potchain.sim.plan import Outcome
from potchain.sim.profiles import PROFILES, plan_of
from potchain.sim.twins import scenario as twins_scenario
from potchain.transactions import Transaction
from potchain_pbft import PbftFactory, normal_case, view_changing, view_messages
from potchain_pbft.agreement import Agreement
from potchain_pbft.effects import StepEffects
from potchain_pbft.log import MessageLog
from potchain_pbft.messages import PREPARE, PreparedCertificate, read_pre_prepare
from potchain_pbft.normal_case import NormalCase
from potchain_pbft.view import ACTIVE, FOLLOWING, CurrentView
from potchain_pbft.view_changing import ViewChanging

Patches = AbstractContextManager[object]


class Mutant(msgspec.Struct, frozen=True):
    """Shipping code with one rule taken out."""

    name: str
    wrong: str
    """What is wrong, for people."""
    mutate: Callable[[], Patches]
    plans: tuple[str, ...]
    """Scenarios, each of which kills it."""
    promises: tuple[str, ...]
    """Which promise each of them sees broken."""

    def play(self, scenario: str, trace: Callable[[str], None] | None = None) -> Outcome:
        """The mutant in a scenario."""
        with self.mutate():
            return play(SCENARIOS[scenario], trace)


MUTANTS: dict[str, Mutant] = {}
"""By name."""


def mutant(name: str, wrong: str, kills: dict[str, str]) -> Callable[[Callable[[], Iterator[None]]], None]:
    """Registers one; `kills`: scenario to the promise that is broken there."""

    def register(patches: Callable[[], Iterator[None]]) -> None:
        MUTANTS[name] = Mutant(name, wrong, contextmanager(patches), tuple(kills), tuple(kills.values()))

    return register


def patched(owner: object, name: str, replacement: object) -> Patches:
    """One patch."""
    return patch.object(owner, name, replacement)


# --- quorums ----------------------------------------------------------------------------------------------------------


@mutant("quorum n/3*2", "the quorum is n / 3 * 2 in whole numbers: 2 of 4", {"two halves": "agreement"})
def _quorum_of_thirds() -> Iterator[None]:
    with patched(Quorum, "quorum", property(lambda self: max(1, divmod(self.n, 3)[0] * 2))):
        yield


@mutant(
    "quorum 2f + 1",
    "the quorum is 2f + 1 for every n: 1 of 3, 3 of 5",
    {"three that hear nobody": "agreement", "five, one of them twice": "agreement"},
)
def _quorum_of_faults() -> Iterator[None]:
    with patched(Quorum, "quorum", property(lambda self: 2 * self.faults_max + 1)):
        yield


@mutant(
    "block certificate on f + 1",
    "a block certificate is made of a weak quorum's votes",
    {"a primary dies after a stable checkpoint": "liveness"},
)
def _weak_block_certificate() -> Iterator[None]:
    class Weak:
        def __init__(self, n: int) -> None:
            self.quorum = self.weak_quorum = Quorum(n).weak_quorum

    with patched(certifying, "Quorum", Weak):
        yield


@mutant(
    "primary counted twice",
    "a prepare of the primary counts beside its pre-prepare, in the log and in certificates",
    {"two proposals, one with a prepare of the primary": "agreement"},
)
def _primary_twice() -> Iterator[None]:
    def on_prepare(self: NormalCase, message: ConsensusMessage, out: StepEffects) -> None:
        slot = self._log.slot(message.view, message.sequence)
        if slot.prepares.add(message) is None:
            self._agreement.count_prepare(slot, message.digest, out)

    def check_prepared(entry: PreparedCertificate, epoch: Any) -> None:
        senders = [vote.sender for vote in entry.prepares]
        view_messages._check_senders(senders, Quorum(len(epoch.members)).quorum - 1, epoch, exactly=True)

    with (
        patched(NormalCase, "on_prepare", on_prepare),
        patched(view_messages, "_check_prepared", check_prepared),
    ):
        yield


# --- view change ------------------------------------------------------------------------------------------------------


@mutant("no prepared certificates", "a view change carries no prepared certificates", {"lone decision": "agreement"})
def _no_certificates() -> Iterator[None]:
    original = view_messages.make_view_change

    def bare(stable: int, certificate: BlockCertificate | None, prepared: Sequence[PreparedCertificate]) -> bytes:
        return original(stable, certificate, ())

    with patched(view_changing, "make_view_change", bare):
        yield


@mutant(
    "certificates of undecided slots only",
    "a view change leaves out what its sender has decided",
    {"one decided, one prepared, one node heard neither": "agreement"},
)
def _undecided_only() -> Iterator[None]:
    original = MessageLog.prepared_certificates
    decided: dict[int, Agreement] = {}
    begin = Agreement.__init__

    def remember(self: Agreement, me: Any, quorum: Any, current: Any, log: MessageLog, *rest: Any) -> None:
        begin(self, me, quorum, current, log, *rest)
        decided[id(log)] = self

    def prepared(self: MessageLog, below: int) -> list[PreparedCertificate]:
        agreement = decided[id(self)]
        return [each for each in original(self, below) if not agreement.is_decided(each.sequence)]

    with (
        patched(Agreement, "__init__", remember),
        patched(MessageLog, "prepared_certificates", prepared),
    ):
        yield


@mutant(
    "new view not recomputed",
    "a backup takes whatever digest the new primary proposes",
    {"lone decision, then a primary that proposes something else": "agreement"},
)
def _not_recomputed() -> Iterator[None]:
    original = NormalCase._on_first_pre_prepare

    def believe(self: NormalCase, message: ConsensusMessage, out: StepEffects) -> None:
        chosen = self._current.plan.chosen
        if message.sequence in chosen:
            chosen[message.sequence] = blocks.Digest(message.digest)
        original(self, message, out)

    with patched(NormalCase, "_on_first_pre_prepare", believe):
        yield


@mutant(
    "votes without the new view",
    "a replica that has left for a view votes in it before it has seen the new view",
    {"lone decision, then a primary without a new view": "agreement"},
)
def _votes_early() -> Iterator[None]:
    with patched(CurrentView, "voting", property(lambda self: self.view)):
        yield


@mutant(
    "null request without a new view",
    "a null request is accepted in a view whose new view has not come: it can do no harm",
    {"lone decision, then a null request before the new view": "agreement"},
)
def _null_early() -> Iterator[None]:
    original = NormalCase.on_pre_prepare

    def take_null(self: NormalCase, message: ConsensusMessage, out: StepEffects) -> None:
        slot = self._log.slot(message.view, message.sequence)
        early = message.view == self._current.view and self._current.voting is None
        if early and slot.pre_prepare is None and message.sender != self._me:
            proposal = read_pre_prepare(message, self._genesis_hash, self._epoch, chosen=True)
            if not proposal.header.proposer:
                digest = self._log.hold(proposal)
                slot.propose(digest, proposal)
                slot.pre_prepare = message
                self._accept(slot, digest, proposal, out)
                return
        original(self, message, out)

    with patched(NormalCase, "on_pre_prepare", take_null):
        yield


@mutant(
    "view lowered by an old certificate",
    "an order certificate of a lower view takes the replica back to that view",
    {"old blocks come late, after the view change": "liveness"},
)
def _view_lowered() -> Iterator[None]:
    original = ViewChanging.follow

    def follow(self: ViewChanging, view: int, out: StepEffects) -> None:
        if view < self._current.view:
            self._current.view, self._current.mode = view, ACTIVE if view == 0 else FOLLOWING
            self._current.since_ns = out.now_ns
        original(self, view, out)

    with patched(ViewChanging, "follow", follow):
        yield


# --- what is signed, and what is kept ---------------------------------------------------------------------------------


@mutant(
    "vote not persisted",
    "the vote log writes neither votes nor guard nor records",
    {"a primary loses power with a proposal that nobody got": "one signature per slot"},
)
def _not_persisted() -> Iterator[None]:
    original = VoteLog.append

    def forgetful(self: VoteLog, **batch: Any) -> int | None:
        return original(self, **{**batch, "records": (), "messages": (), "guard": ()})

    with patched(VoteLog, "append", forgetful):
        yield


@mutant(
    "signature without view",
    "what is signed does not name the view",
    {"lone decision in view 1, then view changes under another name": "agreement"},
)
def _signature_without_view() -> Iterator[None]:
    subject = blocks.VoteSubject

    def without_view(tag: str, genesis: bytes, epoch: int, kind: str, view: int, *rest: Any) -> Any:
        return subject(tag, genesis, epoch, kind, 0, *rest)

    with patched(blocks, "VoteSubject", without_view):
        yield


@mutant(
    "guard skipped on re-send",
    "what is sent again is signed anew, past the guard, for the newest proposal that was heard",
    {"a primary that says both, and votes that get lost": "one signature per slot"},
)
def _signs_anew() -> Iterator[None]:
    newest: dict[tuple[NodeId | None, int, int], bytes] = {}
    original = NormalCase.on_pre_prepare

    def listen(self: NormalCase, message: ConsensusMessage, out: StepEffects) -> None:
        newest[self._me, message.view, message.sequence] = message.digest
        original(self, message, out)

    def resend(self: OwnMessages, to: NodeId | None, certified: int) -> None:
        for message in self._kept.values():
            signer = self._signer
            assert isinstance(signer, Signer)
            digest = newest.get((signer.node_id, message.view, message.sequence), message.digest)
            if message.kind == PREPARE:
                signed = vote_bytes(
                    signer._genesis_hash, message.epoch, PREPARE, message.view, message.sequence, digest,
                    signer.node_id,
                )  # fmt: skip
                signature = signer._key.sign_vote(signed)
                message = msgspec.structs.replace(message, digest=digest, signature=signature)
            self._outbox.then(Transmit(to, message))

    with patched(NormalCase, "on_pre_prepare", listen), patched(OwnMessages, "resend", resend):
        yield


@mutant(
    "learner resumes too early",
    "a node that forgot its votes signs as soon as it has its answers",
    {"a primary forgets its votes with a proposal in flight": "one signature per slot"},
)
def _early_learner() -> Iterator[None]:
    with patched(LearnerTarget, "reached", lambda self, stable, epoch, view: True):
        yield


@mutant(
    "unsigned prepare accepted",
    "the signature of a prepare is not checked",
    {"two proposals, one with forged prepares": "liveness"},
)
def _unsigned_prepare() -> Iterator[None]:
    original = Incoming.message

    def lax(self: Incoming, message: ConsensusMessage, epoch: Any, replica: Any) -> Any:
        return ((), None) if message.kind == PREPARE else original(self, message, epoch, replica)

    with patched(Incoming, "message", lax):
        yield


# --- when a vote may be refused ---------------------------------------------------------------------------------------


@mutant(
    "votes depend on account state",
    "a proposal is refused when a nonce in it is not the account's next",
    {"one sender, one transaction a block": "liveness"},
)
def _votes_on_state() -> Iterator[None]:
    chains: dict[int, Chain] = {}
    begin, complete = Chain.__init__, ProposalDesk._complete

    def remember(self: Chain, **rooms: Any) -> None:
        begin(self, **rooms)
        chains[id(rooms["desk"])] = self

    def strict(self: ProposalDesk, check: PendingCheck) -> None:
        chain, proposal = chains[id(self)], check.ask.proposal
        bodies = [check.found.get(each) or self._pool.get(each) for each in proposal.transaction_ids]  # type: ignore[call-overload]
        if any(body is not None and body.nonce != chain.account(body.sender)[0] for body in bodies):
            self._answer(ProposalChecked(proposal, check.ask.view, "a nonce in it is not the next"))
        else:
            complete(self, check)

    with patched(Chain, "__init__", remember), patched(ProposalDesk, "_complete", strict):
        yield


@mutant(
    "clock re-checked on a re-proposal",
    "what a new view chose must have a fresh timestamp, too",
    {"a proposal that is chosen again when it is old": "liveness"},
)
def _clock_again() -> Iterator[None]:
    original = normal_case.CheckProposal

    def fresh(proposal: Any, view: int, fresh: bool, sources: Any) -> Any:
        return original(proposal, view, True, sources)

    with patched(normal_case, "CheckProposal", fresh):
        yield


# --- execution and catch-up -------------------------------------------------------------------------------------------


@mutant(
    "unique id crash",
    "the ledger holds an id once: a second inclusion is refused by the database",
    {"every transaction twice": "halt"},
)
def _unique_id() -> Iterator[None]:
    original = LedgerWriter.apply
    seen: dict[int, set[bytes]] = {}

    def apply(self: LedgerWriter, done: Sequence[ExecutedBlock], certificates: Sequence[BlockCertificate] = ()) -> None:
        ids = seen.setdefault(id(self), set())
        for block in done:
            for transaction_id in block.proposal.transaction_ids:
                if transaction_id in ids:
                    raise LedgerError("UNIQUE constraint failed: transactions.id")
                ids.add(transaction_id)
        original(self, done, certificates)

    with patched(LedgerWriter, "apply", apply):
        yield


@mutant(
    "body unpinned by replacement",
    "a transaction that is replaced in the pool is gone, although a proposal in flight needs its body",
    {"a transaction is replaced while it is in flight": "exception"},
)
def _unpinned() -> Iterator[None]:
    original = TransactionPool.admit

    def admit(self: TransactionPool, transaction: Transaction, **facts: Any) -> Admission:
        admission = original(self, transaction, **facts)
        if admission.replaced is not None:
            self._pins.by_id.pop(admission.replaced, None)
        return admission

    with patched(TransactionPool, "admit", admit):
        yield


@mutant(
    "receipts imported in catch-up",
    "results that come with a block of catch-up are believed, not computed",
    {"catching up with a peer that sends results": "equal roots"},
)
def _imported() -> Iterator[None]:
    imported: set[tuple[int, int]] = set()
    parse, execute = Incoming._bodies_of, Executor.execute

    def bodies_of(self: Incoming, block: SyncBlock) -> tuple[Transaction, ...]:
        if block.bodies and block.bodies[-1] == RESULTS:
            imported.add((id(self._types), block.proposal.header.sequence))
            block = msgspec.structs.replace(block, bodies=block.bodies[:-1])
        return parse(self, block)

    def believe(self: Executor, parent: Any, epoch: Any, proposal: Any, *rest: Any) -> ExecutionResult:
        result = execute(self, parent, epoch, proposal, *rest)
        if (id(self.types), proposal.header.sequence) not in imported:
            return result
        ids = enumerate(proposal.transaction_ids)
        receipts = tuple(skipped_receipt(each, index, "stale_nonce") for index, each in ids)
        header = msgspec.structs.replace(result.header, receipts_root=receipts_root(receipts))
        return msgspec.structs.replace(result, header=header, receipts=receipts, changes=())

    with patched(Incoming, "_bodies_of", bodies_of), patched(Executor, "execute", believe):
        yield


# --- epochs -----------------------------------------------------------------------------------------------------------


@mutant(
    "above C without C's certificate",
    "the old epoch goes on above the block that ends it",
    {"parameters change under load": "agreement"},
)
def _above_the_end() -> Iterator[None]:
    with patched(MessageLog, "high", property(lambda self: self.low + self._log_window)):
        yield


# --- by hand ----------------------------------------------------------------------------------------------------------


def search(found: Mutant, seeds: int) -> None:
    """Print which seeds of the random profiles kill a mutant that shipping code survives."""
    plans = [(f"--profile {name} --seeds {seed}", plan_of(name, seed)) for name in PROFILES for seed in range(seeds)]
    plans += [(f"twins --only {number}", twins_scenario(number, scenarios=200)) for number in range(seeds)]
    for words, each in plans:
        with found.mutate():
            outcome = run_plan(each, PbftFactory())
        if outcome.violation is not None and run_plan(each, PbftFactory()).violation is None:
            print(f"{words}: {outcome.violation.checker} at {outcome.violation.at_ns} ns: {outcome.violation.detail}")


def table(names: Sequence[str]) -> int:
    """Every mutant on its killing plans; how many survive one."""
    survivors = 0
    for name in names:
        found = MUTANTS[name]
        for scenario in found.plans:
            began_s = time.process_time()
            violation = found.play(scenario).violation
            spent_s = time.process_time() - began_s
            survivors += violation is None
            said = "SURVIVES" if violation is None else f"{violation.checker}: {violation.detail}"
            print(f"{spent_s:5.2f} s  {name:38} {scenario:62} {said}")
    return survivors


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Mutants and what kills them.")
    parser.add_argument("--search", metavar="NAME", choices=MUTANTS)
    parser.add_argument("--seeds", type=int, default=20, help="of each profile, for --search")
    parser.add_argument("--trace", metavar="NAME", choices=MUTANTS)
    parser.add_argument("names", nargs="*", help="mutants; all of them when none is given")
    words = parser.parse_args()
    if words.search:
        search(MUTANTS[words.search], words.seeds)
        return 0
    if words.trace:
        found = MUTANTS[words.trace]
        print(found.play(found.plans[0], print).violation)
        return 0
    return 1 if table(words.names or list(MUTANTS)) else 0


if __name__ == "__main__":
    with ExitStack():
        sys.exit(main())
