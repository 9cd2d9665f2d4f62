"""Makes small real chains for tests: four validators, signed transfers, executed blocks and their certificates.

Keys come from numbers, so a chain is the same every time. The order certificate is a stand-in whose data is the digest
it decides; `verify_order` knows it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from potchain.application.accounts import AccountsApplication
from potchain.application.execution import Executor
from potchain.application.state import AuthenticatedState
from potchain.blocks import (
    BLOCK_VOTE,
    BlockCertificate,
    BlockHeader,
    BlockSignature,
    ExecutedBlock,
    OrderCertificate,
    Proposal,
    StateChange,
    block_hash,
    build_proposal,
    proposal_digest,
    vote_bytes,
)
from potchain.consensus.quorum import Quorum
from potchain.crypto import SigningKey, node_id_of
from potchain.errors import InvalidProof
from potchain.genesis import Epoch, Genesis, InitialBalance, Parameters, Validator
from potchain.ledger.database import Database
from potchain.ledger.projection import Projector
from potchain.ledger.reader import LedgerReader
from potchain.ledger.verify import Authorities
from potchain.ledger.writer import LedgerWriter
from potchain.primitives import uint256
from potchain.transactions import Transaction, TransactionTypes, Transfer

BALANCE = 10**24
STARTED_AT_MS = 1_700_000_000_000


def account_key_of(number: int) -> SigningKey:
    """The key of account `number`, from 0."""
    return SigningKey((1_000 + number).to_bytes(32, "big"))


def make_genesis(accounts: int = 4, validators: int = 4, chain_id: str = "ledger-test") -> Genesis:
    """A genesis with funded accounts."""
    members = tuple(
        Validator(
            name=f"v{number}",
            node_key=bytes([number + 1]) * 32,
            consensus_key=SigningKey((number + 1).to_bytes(32, "big")).public_key,
            operator=bytes([number + 1]) * 20,
        )
        for number in range(validators)
    )
    balances = sorted(
        (InitialBalance(account_key_of(number).address, uint256(BALANCE)) for number in range(accounts)),
        key=lambda entry: entry.address,
    )
    return Genesis(chain_id, STARTED_AT_MS, members, tuple(balances), Parameters())


class Replay:
    """A second execution of a chain from its genesis, as `ledger verify` wants it."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._state = AuthenticatedState.from_records(chain.executor.genesis_records())
        self._parent = chain.genesis_header

    def execute(self, proposal: Proposal, transactions: tuple[Transaction, ...]) -> BlockHeader:
        """The next header."""
        epoch = self._chain.genesis.first_epoch
        order = OrderCertificate("test", 1, b"")
        block = self._chain.executor.execute_block(self._parent, epoch, proposal, transactions, self._state, order)
        self._parent = block.header
        return block.header


class Chain:
    """A growing chain in memory."""

    def __init__(self, genesis: Genesis | None = None, accounts: int = 4) -> None:
        self.genesis = genesis or make_genesis(accounts)
        self.keys = [account_key_of(number) for number in range(len(self.genesis.accounts))]
        self.executor = Executor(self.genesis, [AccountsApplication()])
        self.types: TransactionTypes = self.executor.types
        self.state_records = tuple(self.executor.genesis_records())
        self.state = AuthenticatedState.from_records(self.state_records)
        self.genesis_header = self.executor.genesis_block(self.state.root)
        self.blocks: list[ExecutedBlock] = []
        self._nonces = [0] * len(self.keys)

    @property
    def tip(self) -> BlockHeader:
        """The highest header."""
        return self.blocks[-1].header if self.blocks else self.genesis_header

    def transfer(
        self, sender: int = 0, receiver: int = 1, amount: int = 5, *, fee: int = 10, nonce: int | None = None
    ) -> Transaction:
        """A signed transfer between two accounts; a nonce that is given is not counted."""
        if nonce is None:
            nonce = self._nonces[sender]
            self._nonces[sender] += 1
        key = self.keys[sender]
        to = self.keys[receiver].address
        return self.types.sign(Transfer(key.address, nonce, uint256(fee), 0, to, uint256(amount), b"memo"), key)

    def grow(self, transactions: list[Transaction]) -> ExecutedBlock:
        """Decide and execute one block."""
        height = self.tip.height + 1
        proposer = node_id_of(self.genesis.validators[height % len(self.genesis.validators)].consensus_key)
        ids = [transaction.id for transaction in transactions]
        proposal = build_proposal(self.genesis.hash, 0, height, STARTED_AT_MS + 1_000 * height, proposer, ids)
        order = OrderCertificate("test", 1, proposal_digest(proposal.header))
        block = self.executor.execute_block(
            self.tip, self.genesis.first_epoch, proposal, transactions, self.state, order
        )
        self.blocks.append(block)
        return block

    def grow_mixed(self, blocks: int, transactions: int = 4) -> list[ExecutedBlock]:
        """Blocks with transfers that succeed, one that fails and one that is skipped; every fifth is empty."""
        grown = []
        for number in range(blocks):
            if number % 5 == 4:
                grown.append(self.grow([]))
                continue
            chosen = [
                self.transfer(n % len(self.keys), (n + number + 1) % len(self.keys), amount=1 + n)
                for n in range(transactions)
            ]
            chosen.append(self.transfer(0, 1, amount=BALANCE * 10))
            chosen.append(self.transfer(1, 2, amount=7 + number, nonce=10_000))
            grown.append(self.grow(chosen))
        return grown

    def certificate(self, height: int) -> BlockCertificate:
        """A block certificate by a quorum."""
        block = self.blocks[height - 1]
        genesis = self.genesis
        signatures = []
        for number in range(Quorum(len(genesis.validators)).quorum):
            key = SigningKey((number + 1).to_bytes(32, "big"))
            node = node_id_of(key.public_key)
            message = vote_bytes(genesis.hash, 0, BLOCK_VOTE, 0, height, block.hash, node)
            signatures.append(BlockSignature(node, key.sign_vote(message)))
        signatures.sort(key=lambda entry: entry.sender)
        return BlockCertificate(0, height, block.hash, tuple(signatures))

    def authorities(self) -> Authorities:
        """What `verify_chain` needs."""
        return Authorities(
            genesis=self.genesis,
            genesis_header=self.genesis_header,
            types=self.types,
            event_types=self.executor.event_types,
            verify_order=verify_order,
            execute=Replay(self).execute,
        )


def verify_order(
    certificate: OrderCertificate, genesis_hash: bytes, epoch: Epoch, sequence: int, digest: bytes
) -> None:
    """Accepts what `Chain` makes."""
    if certificate != OrderCertificate("test", 1, digest):
        raise InvalidProof("not the stand-in certificate of this digest")


def with_changes(block: ExecutedBlock, changes: tuple[StateChange, ...]) -> ExecutedBlock:
    """The block with other state changes; its header no longer fits them."""
    return msgspec.structs.replace(block, changes=changes)


def rehashed(block: ExecutedBlock, header: BlockHeader) -> ExecutedBlock:
    """The block with another header and the hash that fits it."""
    return msgspec.structs.replace(block, header=header, hash=block_hash(header))


class StoredChain:
    """A chain and the ledger that stores it, initialised."""

    def __init__(self, database: Database, chain: Chain) -> None:
        """`database` has its tables."""
        self.database = database
        self.chain = chain
        self.writer = LedgerWriter(database)
        self.writer.initialise(chain.genesis, chain.genesis_header, chain.state_records)
        self.reader = LedgerReader(database)
        self.projector = Projector(database, chain.types, chain.executor.event_types)

    def grow_mixed(self, blocks: int, transactions: int = 4, *, certified: bool = True) -> None:
        """Grow the chain and store it."""
        grown = self.chain.grow_mixed(blocks, transactions)
        self.writer.apply(grown)
        if certified:
            self.writer.store_certificates([self.chain.certificate(block.height) for block in grown])

    def project_all(self) -> None:
        """Project until nothing is left."""
        self.projector.catch_up()

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> None:
        """Run SQL with the driver's own place holders written as ?."""
        with self.database.write() as connection:
            marks = "?" if self.database.is_sqlite else "%s"
            connection.exec_driver_sql(sql.replace("?", marks), parameters)

    def dump(self, *tables: sa.Table) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of these tables by primary key."""
        with self.database.read() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
                for table in tables
            }
