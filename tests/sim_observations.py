"""Forged observations for the checkers of the simulator: a network that exists on paper, real blocks, and lies.

Blocks are made by the shipping executor on a real state, so that an honest history passes every checker; a test then
changes one thing and expects one complaint.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec

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
    block_hash,
    build_proposal,
    vote_bytes,
)
from potchain.consensus.interface import ConsensusMessage
from potchain.pool.interface import PendingState
from potchain.primitives import NS_PER_S, Digest, NodeId, uint256
from potchain.sim.clients import account_key
from potchain.sim.cluster import make_genesis, validator_keys
from potchain.sim.observation import ApiAnswer, Checker
from potchain.sim.plan import Plan, Twin, Workload
from potchain.sim.twins import PARAMETERS, ROUND_NS
from potchain.transactions import Transaction, Transfer

C = TypeVar("C", bound=Checker)

CERTIFICATE = OrderCertificate(engine="none", version=0, data=b"")


class FakePool:
    """Answers where a transaction is."""

    def __init__(self) -> None:
        self.states: dict[bytes, PendingState] = {}
        names = ("count", "bytes", "pinned_bytes", "proposals", "dropped_remembered", "forgotten")
        self.sizes = dict.fromkeys(names, 0)

    def pending_state(self, transaction_id: bytes) -> PendingState | None:
        return self.states.get(transaction_id)

    def proposable(self) -> tuple[int, int | None]:
        return 7, None

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(**self.sizes, **{f"{name}_max": 100 for name in self.sizes})


class FakeNode:
    """What a checker asks of a node; every field may be set by a test."""

    def __init__(self, world: FakeWorld, index: int) -> None:
        self.index = index
        self.node_id = NodeId(validator_keys(index).node_id)
        self.name = f"v{index}"
        self.is_faulty = False
        self.is_up = True
        self.is_learner = False
        self.lives = 1
        self.durable = True
        self.replica: Any = SimpleNamespace(
            epoch=world.genesis.first_epoch,
            tip=world.genesis_header,
            pool=FakePool(),
            chain=SimpleNamespace(applied=world.genesis_header, state=world.state),
            sizes=lambda: dict(self.replica_sizes),
        )
        self.engine: Any = SimpleNamespace(
            status=lambda: SimpleNamespace(buffers=dict(self.engine_buffers), view=2, mode="normal")
        )
        self.reader: Any = None
        self.replica_sizes: dict[str, int] = {}
        self.engine_buffers: dict[str, int] = {}

    def buffers(self) -> Mapping[str, int]:
        return {**self.replica_sizes, **self.engine_buffers}

    def is_durable(self, message: ConsensusMessage) -> bool:
        return self.durable


class FakeWorld:
    """A cluster on paper."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan or Plan(seed=0)
        self.genesis = make_genesis(self.plan)
        self.executor = Executor(self.genesis, (AccountsApplication(),))
        self.state = AuthenticatedState.from_records(tuple(self.executor.genesis_records()))
        self.genesis_header = self.executor.genesis_block(self.state.root)
        self.now_ns = 0
        self.nodes = [FakeNode(self, index) for index in range(self.plan.nodes)]
        self._tip = self.genesis_header

    def unix_ms(self, node: int) -> int:
        return self.genesis.timestamp_ms + self.now_ns // 1_000_000

    # --- honest history -----------------------------------------------------------------------------------------------

    def transfer(self, account: int, nonce: int, amount: int = 5, **changes: object) -> Transaction:
        values = {
            "from_": account_key(account).address, "nonce": nonce, "fee": uint256(20), "valid_until": 0,
            "to": account_key(account + 1).address, "amount": uint256(amount), "memo": b"",
        }  # fmt: skip
        return self.executor.types.sign(Transfer(**{**values, **changes}), account_key(account))

    def block(self, *transactions: Transaction, at_ms: int = 0) -> ExecutedBlock:
        """The next block, executed."""
        header = self._tip
        proposal = build_proposal(
            self.genesis.hash, 0, header.height + 1, at_ms or header.block_time_ms + 10, self.nodes[0].node_id,
            [transaction.id for transaction in transactions],
        )  # fmt: skip
        block = self.executor.execute_block(
            header, self.genesis.first_epoch, proposal, transactions, self.state, CERTIFICATE
        )
        self._tip = block.header
        return block

    def certificate(self, block: ExecutedBlock) -> BlockCertificate:
        """By nobody; checkers of agreement look at the hash alone."""
        return BlockCertificate(0, block.height, block.hash, (BlockSignature(b"x", bytes(64)),))

    def message(
        self, node: int, kind: str, view: int, sequence: int, digest: bytes, body: bytes = b""
    ) -> ConsensusMessage:
        """Signed by that node."""
        keys = validator_keys(node)
        signed = vote_bytes(self.genesis.hash, 0, kind, view, sequence, digest, keys.node_id)
        return ConsensusMessage(
            0, kind, view, sequence, digest, keys.node_id, body, keys.consensus.sign_vote(signed)
        )

    def block_vote(self, node: int, block: ExecutedBlock) -> ConsensusMessage:
        return self.message(node, BLOCK_VOTE, 0, block.height, block.hash)

    def answer(self, node: int, transaction: Transaction, status: int = 202, document: bytes = b"{}") -> ApiAnswer:
        return ApiAnswer(
            node=node, sent_ns=0, answered_ns=1, method="POST", path="/v1/transactions", status=status,
            document=document, transactions=(transaction,),
        )  # fmt: skip


def begun(checker: C, world: FakeWorld) -> C:
    """The checker at the start of a run."""
    checker.begin(world)
    return checker


def forged(block: ExecutedBlock, **header: object) -> ExecutedBlock:
    """The block with another header, hashed anew."""
    changed: BlockHeader = msgspec.structs.replace(block.header, **header)
    return msgspec.structs.replace(block, header=changed, hash=block_hash(changed))


def with_receipt(block: ExecutedBlock, at: int, **changes: object) -> ExecutedBlock:
    """The block with another receipt."""
    receipts = list(block.receipts)
    receipts[at] = msgspec.structs.replace(receipts[at], **changes)
    return msgspec.structs.replace(block, receipts=tuple(receipts))


def seconds(count: int) -> int:
    return count * NS_PER_S


DIGEST_A, DIGEST_B = Digest(b"a" * 32), Digest(b"b" * 32)


def forked_plan() -> Plan:
    """Two of four validators have twins: more than f. Each half holds a quorum of identities."""
    return Plan(
        seed=1,
        parameters=PARAMETERS,
        twins=(Twin(node=0), Twin(node=1)),
        leaders=(((0, 1, 2), (3, 4, 5)),) * 4,
        round_ns=ROUND_NS,
        heal_ns=4 * NS_PER_S,
        duration_ns=9 * NS_PER_S,
        workload=Workload(accounts=4, transactions=8, until_ns=3 * NS_PER_S, everywhere=True),
    )
