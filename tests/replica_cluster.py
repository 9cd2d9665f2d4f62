"""Four real replicas on a driver in memory: real engine, executor, state, pool and signer; time and disks by hand.

Nothing happens by itself. Frames wait on the wire, batches wait for their disk, timers wait for `advance`. `settle`
carries everything out until nothing is left; a test may stop disks, drop frames and crash nodes in between. Every
signed message that leaves a replica is audited over the whole life of the cluster, crashes included: a second digest
of one sender for a slot fails the test at once. Signatures of transactions are not checked, all else is.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy

import msgspec
from core_network import START_MS, key, make_genesis, make_validators

from potchain.application.accounts import AccountsApplication, load_account, treasury_balance
from potchain.application.execution import Executor
from potchain.application.interface import Application
from potchain.application.state import AuthenticatedState
from potchain.blocks import (
    BLOCK_VOTE,
    BlockCertificate,
    ExecutedBlock,
    Proposal,
    SyncBlock,
    block_hash,
    proposal_digest,
    verify_block_certificate,
    vote_bytes,
)
from potchain.codec import decode
from potchain.consensus.interface import ConsensusMessage, Record
from potchain.consensus.learning import LearnerTarget
from potchain.consensus.quorum import Quorum
from potchain.consensus.signer import GuardEntry, Signer
from potchain.crypto import parse_public_key, verify_vote
from potchain.dissemination import DisseminationOptions
from potchain.genesis import Epoch
from potchain.pool import PoolLimits, TransactionPool
from potchain.primitives import NS_PER_MS, Digest, NodeId, uint, uint256
from potchain.replica import Replica, ReplicaBoot, wire
from potchain.replica.actions import (
    Applied,
    Apply,
    Begin,
    BlocksVerified,
    CertificatesStored,
    CertificatesVerified,
    DurableBatch,
    ForgetBodies,
    FrameReceived,
    Halt,
    Now,
    PeerConnected,
    PeerDisconnected,
    Persist,
    Persisted,
    ReplicaAction,
    ReplicaEvent,
    Resolve,
    ServeBlocks,
    ServeCertificates,
    StartTimer,
    StoreCertificate,
    TimerFired,
    TransactionsVerified,
    Transmit,
    TruncateVotes,
)
from potchain.replica.epochs import KnownEpochs
from potchain.transactions import Transaction, Transfer
from potchain_pbft import PbftFactory, PbftOptions

FACTORY = PbftFactory()
RICH = 10**12
RESTART_NS = 300 * NS_PER_MS
"""A process takes a moment to start: its predecessor's sessions are over by then."""
ACCOUNTS = ("alice", "bob", "carol")


class Disk:
    """What survives a crash: the vote log and the ledger."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.messages: list[ConsensusMessage] = []
        self.guard: list[GuardEntry] = []
        self.proposals: dict[Digest, Proposal] = {}
        self.bodies: dict[Digest, Transaction] = {}
        self.blocks: list[ExecutedBlock] = []
        self.certificates: dict[int, BlockCertificate] = {}
        self.stable_written = 0
        self.learner = LearnerTarget()
        self.doubtful = False
        self.writes = 0

    def write(self, batch: DurableBatch) -> None:
        self.records += batch.records
        self.messages += batch.messages
        self.guard += batch.guard
        self.proposals |= {proposal_digest(proposal.header): proposal for proposal in batch.proposals}
        self.bodies |= {body.id: body for body in batch.bodies}
        if batch.learner is not None:
            self.learner, self.doubtful = batch.learner, False
        self.writes += 1

    def truncate(self, ask: TruncateVotes) -> None:
        def kept(message: ConsensusMessage) -> bool:
            late = message.kind == BLOCK_VOTE and message.sequence in ask.uncertified
            return late or not 0 < message.sequence <= ask.stable

        self.stable_written = max(self.stable_written, ask.stable)
        self.records = [record for record in self.records if not 0 < record.sequence <= ask.stable]
        self.messages = [message for message in self.messages if kept(message)]
        self.guard = [entry for entry in self.guard if not 0 < entry.sequence <= ask.stable]
        self.proposals = {
            digest: proposal for digest, proposal in self.proposals.items() if proposal.header.sequence > ask.stable
        }

    def lose_votes(self) -> None:
        """The vote log is gone; a new one begins beside the ledger."""
        fresh = Disk()
        fresh.blocks, fresh.certificates, fresh.doubtful = self.blocks, self.certificates, bool(self.blocks)
        self.__dict__ = fresh.__dict__

    def copy(self) -> Disk:
        """An operator's copy of the folder."""
        other = Disk()
        other.__dict__ = {name: copy(value) for name, value in self.__dict__.items()}
        return other

    def recent_certificates(self, window: int) -> tuple[BlockCertificate, ...]:
        heights = [height for height in sorted(self.certificates) if height > len(self.blocks) - window]
        return tuple(self.certificates[height] for height in heights)

    def epochs(self, first: Epoch) -> tuple[Epoch, ...]:
        """Those that have begun, as `potchain.startup` finds them."""
        named = [decode(Epoch, block.next_epoch) for block in self.blocks if block.next_epoch]
        return (first, *(epoch for epoch in named if epoch.first_sequence - 1 in self.certificates))

    def stable(self, epoch: Epoch) -> int:
        interval, start = epoch.parameters.checkpoint_interval, epoch.first_sequence - 1
        return max([start, *(height for height in self.certificates if height % interval == 0)])

    def sync_block(self, height: int) -> SyncBlock:
        block = self.blocks[height - 1]
        return SyncBlock(block.proposal, block.bodies, block.order_certificate, self.certificates.get(height))


class Node:
    """One replica, its disk, and what it has asked of its driver."""

    def __init__(self, me: NodeId) -> None:
        self.me = me
        self.disk = Disk()
        self.replica: Replica
        self.run = 0
        self.up = False
        self.disk_works = True
        self.inbox: deque[ReplicaEvent] = deque()
        self.journal: deque[Persist | TruncateVotes | ForgetBodies] = deque()
        self.books: deque[Apply | StoreCertificate] = deque()
        self.outcomes: dict[int, tuple[tuple[Digest, str, str, str], ...]] = {}
        self.others: list[ReplicaAction] = []
        """Blames, evidence, notices and halts."""

    @property
    def certified(self) -> int:
        return self.replica.certifier.certified

    @property
    def root(self) -> bytes:
        return self.replica.chain.state.root

    @property
    def halted(self) -> bool:
        return any(isinstance(action, Halt) for action in self.others)


class Cluster:
    """Nodes, the wire between them, and the clock."""

    def __init__(
        self,
        nodes: int = 4,
        limits: PoolLimits | None = None,
        dissemination: DisseminationOptions = DisseminationOptions(),
        outsiders: int = 0,
        applications: Sequence[Application] = (AccountsApplication(),),
        **parameters: int,
    ) -> None:
        """`outsiders`: nodes with keys of their own that are no validators of genesis."""
        self._applications = applications
        self.validators = make_validators([f"v{number}" for number in range(nodes + outsiders)])
        """Of each node, whether or not it is one in an epoch."""
        self.genesis = make_genesis([(name, RICH) for name in ACCOUNTS], nodes, **parameters)
        self.epoch = self.genesis.first_epoch
        self.now_ns = 1_000 * NS_PER_MS
        self.clock_ahead_ms = dict.fromkeys(range(nodes + outsiders), 0)
        self.wire: deque[tuple[int, int, bytes]] = deque()
        self.passes: Callable[[int, int, wire.Frame], bool] = lambda sender, to, frame: True
        """Which frames arrive; the rest is lost."""
        self.after_write: Callable[[Node], None] = lambda node: None
        """Called when a batch has become durable and its replica does not know yet."""
        self.sent: list[tuple[int, int, wire.Frame]] = []
        self.signed: dict[tuple[bytes, int, int, int, str], bytes] = {}
        self._limits = limits or PoolLimits()
        self._dissemination = dissemination
        self._timers: list[tuple[int, int, int, int, TimerFired]] = []
        self._order = itertools.count()
        self._tickets = itertools.count(1)
        self.types = self._executor().types
        self.nodes = [Node(validator.node_id) for validator in self.validators]
        self.index = {node.me: index for index, node in enumerate(self.nodes)}
        for index in range(len(self.nodes)):
            self.start(index)

    # --- what tests do ----------------------------------------------------------------------------------------------

    @property
    def live(self) -> list[Node]:
        return [node for node in self.nodes if node.up]

    @property
    def primary(self) -> int:
        return self.index[self.epoch.primary(0)]

    def transfer(
        self, sender: str, nonce: int, amount: int = 5, *, fee: int = 10, to: str = "bob", valid_until: int = 0
    ) -> Transaction:
        body = Transfer(
            from_=key(sender).address,
            nonce=nonce,
            fee=uint256(fee),
            valid_until=valid_until,
            to=key(to).address,
            amount=uint256(amount),
            memo=b"",
        )
        return self.types.sign(body, key(sender))

    def submit(self, index: int, *transactions: Transaction) -> int:
        """A client's call at one node; its ticket."""
        ticket = next(self._tickets)
        self.nodes[index].inbox.append(TransactionsVerified(transactions, ticket))
        return ticket

    def settle(self) -> None:
        """Carry out everything that needs no time to pass."""
        moved = True
        while moved:
            moved = False
            for node in self.nodes:
                while node.up and node.inbox:
                    self._step(node, node.inbox.popleft())
                    moved = True
                if node.up and node.disk_works and (node.journal or node.books):
                    self.write_one(node)
                    moved = True
            for _ in range(len(self.wire)):
                self._deliver(*self.wire.popleft())
                moved = True

    def write_one(self, node: Node) -> None:
        """Let a node's disks finish their oldest piece of work each."""
        if node.books:
            item = node.books.popleft()
            if isinstance(item, Apply):
                node.disk.blocks.append(item.block)
                node.inbox.append(Applied(item.block.height))
            else:
                node.disk.certificates[item.certificate.height] = item.certificate
                node.inbox.append(CertificatesStored((item.certificate,)))
        if node.journal:
            work = node.journal.popleft()
            if isinstance(work, Persist):
                node.disk.write(work.batch)
                node.inbox.append(Persisted(work.token))
                self.after_write(node)
            elif isinstance(work, TruncateVotes):
                node.disk.truncate(work)
            else:
                for transaction_id in work.ids:
                    node.disk.bodies.pop(transaction_id, None)

    def advance(self, milliseconds: int) -> None:
        """Let time pass, timer by timer, and settle after each."""
        end_ns = self.now_ns + milliseconds * NS_PER_MS
        self.settle()
        while self._timers and self._timers[0][0] <= end_ns:
            self.now_ns, _, index, run, event = heapq.heappop(self._timers)
            node = self.nodes[index]
            if node.up and node.run == run:
                node.inbox.append(event)
                self.settle()
        self.now_ns = end_ns
        self.settle()

    def start(self, index: int) -> None:
        """Start a node from what is durable, as `potchain.startup` does, and connect it."""
        node = self.nodes[index]
        if node.run:
            self.now_ns += RESTART_NS
        node.run += 1
        node.up = True
        node.replica = self._replica(index, node)
        node.inbox.append(Begin())
        for other, peer in enumerate(self.nodes):
            if other != index and peer.up:
                node.inbox.append(PeerConnected(peer.me))
                peer.inbox.append(PeerConnected(node.me))

    def crash(self, index: int) -> None:
        """The power goes out: what is not on disk is gone."""
        node = self.nodes[index]
        node.up = False
        for queue in (node.inbox, node.journal, node.books):
            queue.clear()
        for peer in self.live:
            peer.inbox.append(PeerDisconnected(node.me))

    def cut_off(self, index: int) -> None:
        """Lose all that one node sends or should get."""
        self.passes = lambda sender, to, frame: index not in (sender, to)

    def heal(self) -> None:
        """Lose nothing any more."""
        self.passes = lambda sender, to, frame: True

    def assert_agreement(self, height: int) -> None:
        """Every live node has certified that height, all with one chain and one state; no money came or went."""
        for node in self.live:
            assert not node.halted, node.others
            assert node.certified == height == node.replica.applied, (node.certified, node.replica.applied, height)
        assert len({node.root for node in self.live}) == 1
        assert len({block_hash(node.replica.tip) for node in self.live}) == 1
        for node in self.live:
            self._assert_money(node)

    def balance(self, node: Node, name: str) -> int:
        return uint(load_account(node.replica.chain.state, key(name).address).balance)

    def block_ids(self, node: Node) -> list[tuple[bytes, ...]]:
        """Transaction ids of each durable block."""
        return [block.proposal.transaction_ids for block in node.disk.blocks]

    # --- the driver -------------------------------------------------------------------------------------------------

    def _step(self, node: Node, event: ReplicaEvent) -> None:
        index = self.index[node.me]
        unix_ms = START_MS + self.now_ns // NS_PER_MS + self.clock_ahead_ms[index]
        for action in node.replica.step(event, Now(self.now_ns, unix_ms)):
            self._carry_out(index, node, action)

    def _carry_out(self, index: int, node: Node, action: ReplicaAction) -> None:
        match action:
            case Persist() | TruncateVotes() | ForgetBodies():
                node.journal.append(action)
            case Apply() | StoreCertificate():
                node.books.append(action)
            case Transmit():
                self._transmit(index, action)
            case StartTimer():
                fired = TimerFired(action.name, action.generation)
                due_ns = self.now_ns + action.after_ns
                heapq.heappush(self._timers, (due_ns, next(self._order), index, node.run, fired))
            case Resolve():
                node.outcomes[action.ticket] = action.outcomes
            case ServeBlocks():
                heights = range(action.from_height, min(action.from_height + action.count, len(node.disk.blocks) + 1))
                blocks = tuple(node.disk.sync_block(height) for height in heights)
                if blocks:
                    self._transmit(index, Transmit(action.to, wire.BlocksAnswer(blocks)))
            case ServeCertificates():
                asked = range(action.from_height, action.from_height + action.count)
                held = tuple(node.disk.certificates[height] for height in asked if height in node.disk.certificates)
                if held:
                    self._transmit(index, Transmit(action.to, wire.CertificatesAnswer(held)))
            case _:
                node.others.append(action)

    def _transmit(self, sender: int, action: Transmit) -> None:
        if isinstance(action.frame, ConsensusMessage):
            self._audit(self.nodes[sender], action.frame)
        data = wire.encode_frame(action.frame)
        members = self.nodes[sender].replica.epochs.current.ids
        targets = [self.index[node] for node in (members if action.to is None else (action.to,))]
        for to in targets:
            if to != sender:
                self.sent.append((sender, to, action.frame))
                self.wire.append((sender, to, data))

    def _audit(self, node: Node, message: ConsensusMessage) -> None:
        if message.sender != node.me:
            return  # another's, sent on because it was asked for
        assert message in node.disk.messages, f"{message.kind} {message.sequence} was sent before it was durable"
        slot = (message.sender, message.epoch, message.view, message.sequence, message.kind)
        first = self.signed.setdefault(slot, message.digest)
        assert first == message.digest, f"two digests for {message.kind} {message.sequence}"

    def _deliver(self, sender: int, to: int, data: bytes) -> None:
        frame = wire.decode_frame(data)
        node, peer = self.nodes[to], self.nodes[sender].me
        if not node.up or not self.passes(sender, to, frame):
            return
        match frame:
            case ConsensusMessage():
                self._check_vote(frame)
                epoch = node.replica.epochs.of_message(frame.kind, frame.epoch, frame.sequence)
                if epoch is not None and frame.sender in epoch.ids:
                    node.inbox.append(FrameReceived(peer, frame))
            case wire.Gossip() | wire.BodiesAnswer():
                parsed = [self.types.parse(raw) for raw in frame.transactions]
                fresh = tuple(each for each in parsed if node.replica.pool.get(each.id) is None)
                if fresh:
                    node.inbox.append(TransactionsVerified(fresh))
            case wire.BlocksAnswer():
                blocks = tuple(
                    itertools.takewhile(lambda block: self._check_block(block, node.replica.epochs), frame.blocks)
                )
                bodies = tuple(tuple(self.types.parse(raw) for raw in block.bodies) for block in blocks)
                node.inbox.append(BlocksVerified(peer, blocks, bodies))
            case wire.CertificatesAnswer():
                certificates = [each for each in frame.certificates if self._certifies(each, node.replica.epochs)]
                node.inbox.append(CertificatesVerified(tuple(certificates)))
            case wire.SignedAnswer():
                for message in frame.messages:
                    assert message.sender == node.me
                    self._check_vote(message)
                node.inbox.append(FrameReceived(peer, frame))
            case _:
                node.inbox.append(FrameReceived(peer, frame))

    def _check_vote(self, message: ConsensusMessage) -> None:
        signed = vote_bytes(
            self.genesis.hash,
            message.epoch,
            message.kind,
            message.view,
            message.sequence,
            message.digest,
            message.sender,
        )
        key_of = {validator.node_id: validator.consensus_key for validator in self.validators}
        assert verify_vote(parse_public_key(key_of[NodeId(message.sender)]), signed, message.signature)

    def _check_block(self, block: SyncBlock, epochs: KnownEpochs) -> bool:
        """Whether a node with these epochs can check it; what it can check must be good."""
        header = block.proposal.header
        epoch = epochs.at(header.sequence)
        if epoch is None or epoch.number != header.epoch:
            return False
        digest = proposal_digest(header)
        FACTORY.verify(block.order_certificate, self.genesis.hash, epoch, header.sequence, digest)
        return block.block_certificate is None or self._certifies(block.block_certificate, epochs)

    def _certifies(self, certificate: BlockCertificate, epochs: KnownEpochs) -> bool:
        epoch = epochs.at(certificate.height)
        if epoch is None or epoch.number != certificate.epoch:
            return False
        verify_block_certificate(certificate, self.genesis.hash, epoch.keys, Quorum(len(epoch.members)).quorum)
        return True

    # --- starting ---------------------------------------------------------------------------------------------------

    def _executor(self) -> Executor:
        return Executor(self.genesis, self._applications)

    def _replica(self, index: int, node: Node) -> Replica:
        disk = node.disk
        epochs = disk.epochs(self.epoch)
        window = max(epoch.parameters.log_window for epoch in epochs[-2:])
        executor = self._executor()
        state = AuthenticatedState.from_records(executor.genesis_records())
        tip = executor.genesis_block(state.root)
        for block in disk.blocks:
            state.apply(block.changes)
            tip = block.header
        assert state.root == tip.state_root
        stable = disk.stable(epochs[-1])
        heights = range(1, tip.height + 1)
        missing = [height for height in heights if height not in disk.certificates]
        certified = missing[0] - 1 if missing else tip.height
        pinned = []
        for proposal in sorted(disk.proposals.values(), key=lambda each: each.header.sequence):
            held = [disk.bodies.get(Digest(each)) for each in proposal.transaction_ids]
            if proposal.header.sequence > tip.height and None not in held:
                pinned.append((proposal, tuple(body for body in held if body is not None)))
        return Replica(
            genesis=self.genesis,
            epoch=epochs[-1],
            me=node.me,
            make_engine=lambda boot: FACTORY.create(boot, PbftOptions()),
            signer=Signer(key("consensus " + self.validators[index].name), self.genesis.hash, disk.guard, stable),
            executor=executor,
            state=state,
            pool=TransactionPool(self._limits),
            dissemination=self._dissemination,
            boot=ReplicaBoot(
                tip=tip,
                tip_hash=block_hash(tip),
                certified=certified,
                stable=stable,
                stable_certificate=disk.certificates.get(stable),
                earlier_epochs=epochs[:-1],
                uncertified=tuple((height, disk.blocks[height - 1].hash) for height in missing),
                certified_ahead=tuple(height for height in heights if height > certified and height not in missing),
                own_messages=tuple(disk.messages),
                records=tuple(record for record in disk.records if not 0 < record.sequence <= stable),
                decided_proposals=tuple(block.proposal for block in disk.blocks[stable:]),
                proposals=tuple(pinned),
                bodies=tuple(disk.bodies.values()),
                boot_id=bytes((*node.me, node.run)),
                recent_certificates=disk.recent_certificates(window),
                doubtful=disk.doubtful
                or (disk.stable_written + window < stable and disk.learner.height <= stable),
                learner=disk.learner,
            ),
        )

    def _assert_money(self, node: Node) -> None:
        held = sum(self.balance(node, name) for name in ACCOUNTS) + treasury_balance(node.replica.chain.state)
        assert held == RICH * len(ACCOUNTS)


def frames_of(cluster: Cluster, kinds: Sequence[type[msgspec.Struct]], sender: int | None = None) -> list[wire.Frame]:
    """Frames of these types that were sent, by everyone or by one node; one for each target."""
    return [
        frame
        for number, _, frame in cluster.sent
        if isinstance(frame, tuple(kinds)) and (sender is None or number == sender)
    ]


def is_vote(frame: wire.Frame, kind: str) -> bool:
    """Whether a frame is a consensus message of that kind."""
    return isinstance(frame, ConsensusMessage) and frame.kind == kind
