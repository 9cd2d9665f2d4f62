# ruff: noqa: ANN401 - what a replacement only hands on has the type of the original
"""Mutants of quorums and of the PBFT plug-in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sim_mutant_registry import mutant, patched

from potchain.blocks import BlockCertificate
from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.quorum import Quorum
from potchain.consensus.signer import GuardEntry, Signer
from potchain.genesis import Epoch
from potchain.primitives import Digest
from potchain.replica import certifying
from potchain_pbft import view_changing, view_messages
from potchain_pbft.agreement import Agreement
from potchain_pbft.effects import StepEffects
from potchain_pbft.log import MessageLog
from potchain_pbft.messages import PreparedCertificate, read_pre_prepare
from potchain_pbft.normal_case import NormalCase
from potchain_pbft.view import ACTIVE, FOLLOWING, CurrentView
from potchain_pbft.view_changing import ViewChanging

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

    def check_prepared(entry: PreparedCertificate, epoch: Epoch) -> None:
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
            chosen[message.sequence] = Digest(message.digest)
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
    "an order certificate of a lower view takes the replica back there, and no guard remembers what it has announced",
    {"old blocks for a node that has left their view alone": "one signature per slot"},
)
def _view_lowered() -> Iterator[None]:
    original, remember = ViewChanging.follow, Signer._remember

    def follow(self: ViewChanging, view: int, out: StepEffects) -> None:
        if view < self._current.view:
            self._current.view, self._current.mode = view, ACTIVE if view == 0 else FOLLOWING
            self._current.since_ns = out.now_ns
        original(self, view, out)

    def forget(self: Signer, entry: GuardEntry) -> None:
        remember(self, entry)
        self._announced.clear()

    with patched(ViewChanging, "follow", follow), patched(Signer, "_remember", forget):
        yield


# --- epochs -----------------------------------------------------------------------------------------------------------


@mutant(
    "above C without C's certificate",
    "the old epoch goes on above the block that ends it",
    {"parameters change under load, and commits above C get lost": "agreement"},
)
def _above_the_end() -> Iterator[None]:
    with patched(MessageLog, "high", property(lambda self: self.low + self._log_window)):
        yield
