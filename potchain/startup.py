"""From files to the state of a replica: open, upgrade, check every hash and root, read what was durable.

Nothing here signs or sends. A ledger that contradicts itself stops the start with the first bad height. A vote log that
is missing beside a ledger that has blocks means that this node may have voted in ways it forgot, so it starts without
a signer, as an observer.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from potchain.application.execution import Executor
from potchain.application.state import AuthenticatedState
from potchain.blocks import BLOCK_VOTE, BlockHeader, OrderCertificate, Proposal
from potchain.config import NodeConfig
from potchain.consensus.interface import Boot, EngineFactory
from potchain.consensus.signer import Signer
from potchain.crypto import SigningKey
from potchain.errors import LedgerCorrupt
from potchain.genesis import Epoch, Genesis
from potchain.ledger.check import ChainSummary, check_chain
from potchain.ledger.database import Database, open_database
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
    replica: ReplicaBoot
    engine: Boot
    signer: Signer | None
    """None: this node observes, because it may not vote."""
    body_batches: dict[int, tuple[Digest, ...]]
    """Ids of the body log's batches."""


def open_storage(config: NodeConfig, genesis: Genesis, executor: Executor) -> Storage:
    """Open and upgrade the databases; write the genesis block into an empty ledger.

    Raises ConfigError or LedgerError.
    """
    ledger = open_database(config.ledger_url, role="ledger")
    upgrade(ledger)
    records = tuple(executor.genesis_records())
    writer = LedgerWriter(ledger)
    writer.initialise(genesis, executor.genesis_block(AuthenticatedState.from_records(records).root), records)
    votes = open_database(config.votes_url, role="votes")
    upgrade(votes)
    return Storage(
        ledger,
        votes,
        writer,
        LedgerReader(ledger, config.ledger.query_deadline_ms * NS_PER_MS),
        Projector(ledger, executor.types, executor.event_types, writer.tip),
        VoteLog(votes, genesis.hash),
    )


def load_state(
    storage: Storage, genesis: Genesis, executor: Executor, *, full: bool, progress: Progress
) -> AuthenticatedState:
    """The state at the ledger's tip. `full` checks every hash and root since genesis. Raises LedgerCorrupt."""
    tip = storage.reader.tip()
    if full:
        # The blocks' changes are replayed over the initial state, which block 0 then repeats.
        state = AuthenticatedState.from_records(executor.genesis_records())
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
    epoch: Epoch,
    executor: Executor,
    key: SigningKey,
    me: NodeId,
    state: AuthenticatedState,
) -> Started:
    """Read votes, pins and bodies. Raises LedgerError when the vote log is damaged."""
    reader = storage.reader
    tip = reader.tip()
    contents = storage.vote_log.load(beside_blocks=tip.height > 0)
    stable = reader.stable_height(epoch.parameters.checkpoint_interval)
    marks = contents.marks
    # Truncation follows the stable checkpoint within one interval, so a log far behind is an old copy.
    forgotten = bool(marks.observes) or marks.stable + epoch.parameters.log_window < stable
    signer = None if forgotten else Signer(key, genesis.hash, contents.guard, max(marks.stable, stable))
    batches = {batch.id: tuple(executor.types.parse(raw) for raw in batch.raw) for batch in contents.bodies}
    bodies: dict[Digest, Transaction] = {each.id: each for batch in batches.values() for each in batch}
    pinned = []
    for proposal in contents.proposals:
        held = [bodies.get(Digest(each)) for each in proposal.transaction_ids]
        if proposal.header.sequence > tip.height and None not in held:
            pinned.append((proposal, tuple(body for body in held if body is not None)))
    certified = reader.certified_height()
    missing: list[int] = []
    while page := reader.heights_without_certificate(missing[-1] if missing else certified):
        missing += page
    uncertified = []
    for height in missing:
        block = reader.block(height)
        assert block is not None
        uncertified.append((height, block.hash))
    first = certified + 1
    ahead = tuple(height for height in range(first, tip.height + 1) if height not in set(missing))
    return Started(
        state=state,
        replica=ReplicaBoot(
            tip=tip.header,
            tip_hash=tip.hash,
            certified=certified,
            stable=stable,
            uncertified=tuple(uncertified),
            certified_ahead=ahead,
            own_messages=contents.own_messages,
            proposals=tuple(pinned),
            bodies=tuple(bodies.values()),
        ),
        engine=Boot(
            genesis_hash=genesis.hash,
            me=None if signer is None else me,
            epoch=epoch,
            decided=tip.height,
            executed=tip.height,
            stable=stable,
            records=tuple(record for record in contents.records if record.sequence > stable),
            own_messages=tuple(
                message for message in contents.own_messages if message.kind != BLOCK_VOTE and message.sequence > stable
            ),
            proposals=tuple(proposal for proposal, _ in pinned),
        ),
        signer=signer,
        body_batches={number: tuple(each.id for each in batch) for number, batch in batches.items()},
    )


def verify_storage(
    storage: Storage, engine: EngineFactory, genesis: Genesis, executor: Executor, progress: Progress
) -> ChainSummary:
    """Believe the genesis file and nothing else: check, verify and execute everything again. Raises LedgerCorrupt."""
    records = tuple(executor.genesis_records())
    replayed = AuthenticatedState.from_records(records)
    parent = executor.genesis_block(replayed.root)
    authorities = Authorities(
        genesis=genesis,
        genesis_header=parent,
        types=executor.types,
        event_types=executor.event_types,
        verify_order=engine.verify,
        execute=_Reexecution(executor, genesis.first_epoch, replayed, parent),
    )
    return verify_chain(storage.reader, authorities, AuthenticatedState.from_records(records), progress)


class _Reexecution:
    """Executes a chain again on a state of its own."""

    def __init__(self, executor: Executor, epoch: Epoch, state: AuthenticatedState, parent: BlockHeader) -> None:
        self._executor = executor
        self._epoch = epoch
        self._state = state
        self._parent = parent

    def __call__(self, proposal: Proposal, transactions: tuple[Transaction, ...]) -> BlockHeader:
        """The header that executing the next proposal gives."""
        unused = OrderCertificate(engine="", version=0, data=b"")
        block = self._executor.execute_block(self._parent, self._epoch, proposal, transactions, self._state, unused)
        self._parent = block.header
        return block.header
