"""The rooms of one replica, made once from what was durable, and wired to one another.

Nothing is decided here. Rooms that depend on the epoch share one `KnownEpochs`, so none of them is ever made anew.
"""

from __future__ import annotations

from collections.abc import Callable

from potchain.application.execution import Executor
from potchain.application.state import AuthenticatedState
from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage, Decision
from potchain.consensus.signer import Signer
from potchain.dissemination import DisseminationOptions
from potchain.genesis import Epoch, Genesis
from potchain.pool import TransactionPool
from potchain.primitives import NodeId
from potchain.replica.accusing import Accusations
from potchain.replica.boot import ReplicaBoot
from potchain.replica.catching_up import CatchUp
from potchain.replica.certifying import Certifier
from potchain.replica.chain import Chain
from potchain.replica.engine_host import EngineHost, MakeEngine
from potchain.replica.epochs import KnownEpochs
from potchain.replica.exchange import Exchange
from potchain.replica.neglect import NeglectJudge
from potchain.replica.outbox import Outbox
from potchain.replica.own_messages import OwnMessages
from potchain.replica.proposing import ProposalDesk
from potchain.replica.rejoin import Position
from potchain.replica.returning import Returning
from potchain.replica.timers import Timers


class Rooms:
    """What a replica consists of, beside its funnel."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        epoch: Epoch,
        me: NodeId,
        make_engine: MakeEngine,
        signer: Signer | None,
        executor: Executor,
        state: AuthenticatedState,
        pool: TransactionPool,
        dissemination: DisseminationOptions,
        boot: ReplicaBoot,
        own_message: Callable[[ConsensusMessage], None],
        on_decision: Callable[[Decision], None],
        on_stable: Callable[[int], None],
        position: Callable[[], Position],
        standing_changed: Callable[[], None],
    ) -> None:
        """The callables: an own message is durable, a sequence decided, a checkpoint stable; the rest: `Returning`."""
        self.me, self.pool, self.dissemination = me, pool, dissemination
        self.epochs = epochs = KnownEpochs((*boot.earlier_epochs, epoch))
        self.outbox = outbox = Outbox()
        self.timers = Timers(outbox)
        self.returning = Returning(
            me=me, epochs=epochs, signer=signer, boot=boot, outbox=outbox, position=position, changed=standing_changed
        )
        kept = _worth_keeping(boot, epoch)
        self.own = OwnMessages(signer, outbox, own_message, kept, self.returning.may_sign)
        self.accusations = Accusations(genesis, epochs, me, outbox)
        self.host = EngineHost(
            make=make_engine,
            genesis_hash=genesis.hash,
            me=me,
            outbox=outbox,
            timers=self.timers,
            own=self.own,
            records=boot.records,
            stable=boot.stable,
            stable_certificate=boot.stable_certificate,
            on_decision=on_decision,
            on_stable=on_stable,
            on_misbehaviour=self.accusations.witnessed,
        )
        self.certifier = Certifier(epochs, boot.certified)
        self.catch_up = CatchUp(me, epochs)
        self.neglect = NeglectJudge(epochs, pool, self._lacks_blocks)
        self.desk = ProposalDesk(
            me=me,
            genesis_hash=genesis.hash,
            epochs=epochs,
            pool=pool,
            outbox=outbox,
            neglect=self.neglect,
            body_grace_ms=dissemination.body_grace_ms,
            answer=self.host.answer,
        )
        self.chain = Chain(
            epochs=epochs,
            executor=executor,
            state=state,
            pool=pool,
            desk=self.desk,
            outbox=outbox,
            tip=boot.tip,
            tip_hash=boot.tip_hash,
            decided_proposals=boot.decided_proposals,
        )
        self._furnish(boot)

    def _furnish(self, boot: ReplicaBoot) -> None:
        """What needs several of the rooms."""
        self.connected: dict[NodeId, None] = {}
        """Peers that are connected now, in the order in which they came; `Upkeep` keeps it."""
        self.exchange = Exchange(self.me, self.connected, self.epochs, self.pool, self.desk, self.outbox)
        self.host.connect(self.chain, self.desk, self.exchange, self.neglect)
        self.accusations.restore(boot.evidence)
        for proposal, transactions in boot.proposals:
            self.desk.restore(proposal, transactions)
        self.epochs.pending = self.chain.next_epoch

    def _lacks_blocks(self) -> bool:
        # Fetching alone proves nothing: one peer that says it is ahead can keep it going for ever.
        tip, catch_up = self.chain.tip.height, self.catch_up
        fetching = catch_up.active and catch_up.credible_height > tip
        return self.chain.has_gap or fetching or catch_up.is_behind(tip)


def _worth_keeping(boot: ReplicaBoot, epoch: Epoch) -> list[ConsensusMessage]:
    """Own messages to be sent again: of an epoch that is over, block votes alone."""
    return [each for each in boot.unsettled_messages if each.kind == BLOCK_VOTE or each.epoch == epoch.number]
