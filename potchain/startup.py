"""From files to the state of a replica: open, upgrade, check every hash and root, read what was durable.

Nothing here signs or sends. A ledger that contradicts itself stops the start with the first bad height. A vote log that
is missing beside a ledger that has blocks, or far behind it, means that this node may have voted in ways it forgot: it
is `doubtful`, and the replica decides when it may sign again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import msgspec

from potchain.application.epochs import taken_over
from potchain.application.execution import Executor
from potchain.application.state import AuthenticatedState
from potchain.blocks import BlockCertificate, BlockHeader, OrderCertificate, Proposal
from potchain.codec import decode
from potchain.config import NodeConfig
from potchain.consensus.interface import EngineFactory
from potchain.consensus.signer import Signer
from potchain.crypto import SigningKey
from potchain.errors import GenesisError, InvalidProof, LedgerCorrupt, LedgerError
from potchain.genesis import Epoch, Genesis, RecoveredGenesis
from potchain.genesis_file import parse_state
from potchain.ledger.check import ChainSummary, check_chain
from potchain.ledger.database import Database, open_database
from potchain.ledger.evidence import all_evidence
from potchain.ledger.migrate import upgrade
from potchain.ledger.projection import Projector
from potchain.ledger.reader import LedgerReader
from potchain.ledger.state_rows import state_at_tip
from potchain.ledger.verify import Authorities, verify_chain
from potchain.ledger.votes import VoteLog
from potchain.ledger.writer import LedgerWriter
from potchain.primitives import NS_PER_MS, Digest, NodeId
from potchain.replica import ReplicaBoot
from potchain.transactions import Transaction

Progress = Callable[[int, int], None]
"""Told (height, tip) while a long check runs."""


class Storage(msgspec.Struct, frozen=True):
    """The open databases of one node."""

    ledger: Database
    votes: Database
    writer: LedgerWriter
    reader: LedgerReader
    projector: Projector
    vote_log: VoteLog

    def close(self) -> None:
        """Close both databases."""
        self.votes.close()
        self.ledger.close()


class Started(msgspec.Struct, frozen=True):
    """What a node starts from."""

    state: AuthenticatedState
    epoch: Epoch
    replica: ReplicaBoot
    signer: Signer
    """The replica decides when it may be used."""
    body_batches: dict[int, tuple[Digest, ...]]
    """Ids of the body log's batches."""


def open_storage(config: NodeConfig, genesis: Genesis, executor: Executor) -> Storage:
    """Open and upgrade the databases; write the genesis block into an empty ledger.

    Raises ConfigError or LedgerError.
    """
    ledger = open_database(config.ledger_url, role="ledger")
    votes = open_database(config.votes_url, role="votes")
    return storage_over(ledger, votes, config, genesis, executor)


def storage_over(
    ledger: Database, votes: Database, config: NodeConfig, genesis: Genesis, executor: Executor
) -> Storage:
    """The same over databases that are open already: the simulator's disk. Raises LedgerError."""
    upgrade(ledger)
    reader = LedgerReader(ledger, config.ledger.query_deadline_ms * NS_PER_MS)
    records = tuple(initial_records(reader, genesis, executor, config.state_path))
    writer = LedgerWriter(ledger, executor.event_types)
    writer.initialise(genesis, executor.genesis_block(AuthenticatedState.from_records(records).root), records)
    upgrade(votes)
    return Storage(
        ledger,
        votes,
        writer,
        reader,
        Projector(ledger, executor.types, executor.event_types, writer.tip),
        VoteLog(votes, genesis.hash),
    )


def initial_records(
    reader: LedgerReader, genesis: Genesis, executor: Executor, state_path: Path | None = None
) -> Iterable[tuple[bytes, bytes]]:
    """The state of the genesis block.

    A recovered network's comes from the ledger's first row, or, while the ledger is empty, from the state file; its
    root must be the one that the operators signed. Raises LedgerError, GenesisError.
    """
    if not isinstance(genesis, RecoveredGenesis):
        return executor.genesis_records()
    recovery = genesis.recovery
    stored = reader.genesis_hash()
    if stored == recovery.predecessor.genesis_hash:
        raise LedgerError(
            f"{reader.database.place} holds the network as it was before the recovery at height {genesis.height}; this "
            f"moves it away and keeps it: potchain recover install GENESIS --home HOME"
        )
    if stored == genesis.hash:
        changes = reader.changes(genesis.height) or ()
        records = {change.key: change.value for change in changes if change.value is not None}
    elif state_path is None or stored is not None:
        raise LedgerError(f"{reader.database.place} is not the ledger of this network (genesis 0x{genesis.hash.hex()})")
    else:
        records = taken_over(read_state(state_path, genesis).items(), genesis.first_epoch)
    root = AuthenticatedState.from_records(records.items()).root
    if root != recovery.state_root:
        raise LedgerCorrupt(
            genesis.height, f"the initial state has root 0x{root.hex()}, the genesis file 0x{recovery.state_root.hex()}"
        )
    return records.items()


def read_state(path: Path, genesis: RecoveredGenesis) -> dict[bytes, bytes]:
    """The predecessor's last state from its file, compared with the root in its last block. Raises GenesisError."""
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise GenesisError(
            str(path), [f"the state that a recovered network begins with cannot be read ({fault.strerror})"]
        ) from None
    records = parse_state(data, str(path))
    root, header = AuthenticatedState.from_records(records.items()).root, genesis.recovery.predecessor.header
    if root != header.state_root:
        fault_ = f"its root is 0x{root.hex()}, that of block {header.height} is 0x{header.state_root.hex()}"
        raise GenesisError(str(path), [f"{fault_}: this is the state of another block, or it was changed"])
    return records


def load_state(
    storage: Storage, genesis: Genesis, executor: Executor, *, full: bool, progress: Progress
) -> AuthenticatedState:
    """The state at the ledger's tip. `full` checks every hash and root since genesis. Raises LedgerCorrupt."""
    tip = storage.reader.tip()
    if full:
        # The blocks' changes are replayed over the initial state, which block 0 then repeats.
        state = AuthenticatedState.from_records(initial_records(storage.reader, genesis, executor))
        check_chain(storage.reader, genesis, executor.genesis_block(state.root), state, progress)
    else:
        state = AuthenticatedState.from_records(state_at_tip(storage.reader))
    if state.root != tip.header.state_root:
        raise LedgerCorrupt(
            tip.height,
            f"the stored state has root 0x{state.root.hex()}, the block says 0x{tip.header.state_root.hex()}; run "
            f"`potchain ledger verify`",
        )
    return state


def load_boot(
    storage: Storage,
    genesis: Genesis,
    executor: Executor,
    key: SigningKey,
    me: NodeId,
    state: AuthenticatedState,
) -> Started:
    """Read votes, pins and bodies. Raises LedgerError when the vote log is damaged."""
    reader = storage.reader
    tip = reader.tip()
    epochs = begun_epochs(reader)
    epoch = epochs[-1]
    contents = storage.vote_log.load(beside_blocks=tip.height > genesis.height)
    stable = max(reader.stable_height(epoch.parameters.checkpoint_interval), epoch.first_sequence - 1)
    marks = contents.marks
    # Truncation follows the stable checkpoint within one interval, so a log far behind is an old copy.
    window = max(each.parameters.log_window for each in epochs[-2:])
    old = max(marks.stable, genesis.height) + window < stable and marks.learner_height <= stable
    signer = Signer(key, genesis.hash, contents.guard, max(marks.stable, stable))
    batches = {batch.id: tuple(executor.types.parse(raw) for raw in batch.raw) for batch in contents.bodies}
    bodies: dict[Digest, Transaction] = {each.id: each for batch in batches.values() for each in batch}
    pinned = []
    for proposal in contents.proposals:
        held = [bodies.get(Digest(each)) for each in proposal.transaction_ids]
        if proposal.header.sequence > tip.height and None not in held:
            pinned.append((proposal, tuple(body for body in held if body is not None)))
    certified = reader.certified_height()
    missing: list[int] = []
    while heights := reader.heights_without_certificate(missing[-1] if missing else certified):
        missing += heights
    uncertified = []
    for height in missing:
        block = reader.block(height)
        assert block is not None
        uncertified.append((height, block.hash))
    decided: list[Proposal] = []
    while page := reader.blocks_page(stable + len(decided), epoch.parameters.log_window, ascending=True):
        decided += [block.proposal for block in page if block.proposal is not None]
    first = certified + 1
    ahead = tuple(height for height in range(first, tip.height + 1) if height not in set(missing))
    return Started(
        state=state,
        epoch=epoch,
        replica=ReplicaBoot(
            tip=tip.header,
            tip_hash=tip.hash,
            certified=certified,
            stable=stable,
            earlier_epochs=tuple(
                before
                for before, after in pairwise(epochs)
                if after is epoch or after.first_sequence - 1 > certified
            ),
            uncertified=tuple(uncertified),
            certified_ahead=ahead,
            own_messages=contents.own_messages,
            records=tuple(record for record in contents.records if not 0 < record.sequence <= stable),
            stable_certificate=reader.certificate(stable),
            decided_proposals=tuple(decided),
            proposals=tuple(pinned),
            bodies=tuple(bodies.values()),
            recent_certificates=recent_certificates(reader, tip.height, window),
            doubtful=bool(marks.doubtful) or old,
            learner=marks.target,
            evidence=tuple(stored.evidence for stored in all_evidence(reader)),
        ),
        signer=signer,
        body_batches={number: tuple(each.id for each in batch) for number, batch in batches.items()},
    )


def recent_certificates(reader: LedgerReader, tip: int, window: int) -> tuple[BlockCertificate, ...]:
    """Block certificates of the last log window, by height: this node's proof of what others, and itself, signed."""
    found = [reader.certificate(height) for height in range(max(1, tip - window + 1), tip + 1)]
    return tuple(certificate for certificate in found if certificate is not None)


def begun_epochs(reader: LedgerReader) -> tuple[Epoch, ...]:
    """All epochs that have begun at this node, the current one last: the block before each is certified here."""
    return tuple(
        epoch
        for at, epoch in enumerate(reader.epochs())
        if not at or reader.certificate(epoch.first_sequence - 1) is not None
    )


def verify_storage(
    storage: Storage, engine: EngineFactory, genesis: Genesis, executor: Executor, progress: Progress
) -> ChainSummary:
    """Believe the genesis file and nothing else: check, verify and execute everything again. Raises LedgerCorrupt."""
    records = tuple(initial_records(storage.reader, genesis, executor))
    replayed = AuthenticatedState.from_records(records)
    parent = executor.genesis_block(replayed.root)
    authorities = Authorities(
        genesis=genesis,
        genesis_header=parent,
        types=executor.types,
        event_types=executor.event_types,
        verify_order=engine.verify,
        execute=Reexecution(executor, replayed, parent),
    )
    return verify_chain(storage.reader, authorities, AuthenticatedState.from_records(records), progress)


class Reexecution:
    """Executes a chain again on a state of its own, from genesis on."""

    def __init__(self, executor: Executor, state: AuthenticatedState, parent: BlockHeader) -> None:
        self._executor = executor
        self._epoch = executor.genesis.first_epoch
        self._state = state
        self._parent = parent

    def __call__(self, proposal: Proposal, transactions: tuple[Transaction, ...]) -> BlockHeader:
        """The header that executing the next proposal gives. Raises InvalidProof when it is of another epoch."""
        if proposal.header.epoch != self._epoch.number:
            raise InvalidProof(f"its proposal is of epoch {proposal.header.epoch}, not {self._epoch.number}")
        unused = OrderCertificate(engine="", version=0, data=b"")
        block = self._executor.execute_block(self._parent, self._epoch, proposal, transactions, self._state, unused)
        self._parent = block.header
        if block.next_epoch:
            self._epoch = decode(Epoch, block.next_epoch)
        return block.header
