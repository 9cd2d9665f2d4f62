"""Makes small networks on paper: keys, a genesis, signed transfers, executed and certified blocks. No processes."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from potchain.application.accounts import AccountsApplication
from potchain.application.execution import Executor
from potchain.application.interface import Application
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
    null_request,
    vote_bytes,
)
from potchain.codec import decode
from potchain.consensus.quorum import Quorum
from potchain.crypto import SigningKey
from potchain.genesis import Epoch, Genesis, InitialBalance, Parameters, Validator
from potchain.primitives import uint256
from potchain.transactions import Transaction, Transfer

START_MS = 1_700_000_000_000
NO_ORDER = OrderCertificate("paper", 1, b"")


def key(name: str) -> SigningKey:
    """The same key for the same name."""
    return SigningKey(sha256(name.encode()).digest())


def quorum_of(members: int) -> int:
    return Quorum(members).quorum


def make_validators(names: Sequence[str]) -> tuple[Validator, ...]:
    return tuple(
        Validator(
            name=name,
            node_key=sha256(b"node " + name.encode()).digest(),
            consensus_key=key("consensus " + name).public_key,
            operator=key("operator " + name).address,
        )
        for name in names
    )


def make_genesis(balances: Sequence[tuple[str, int]] = (), validators: int = 4, **parameters: int) -> Genesis:
    accounts = sorted((key(name).address, balance) for name, balance in balances)
    return Genesis(
        chain_id="paper-1",
        timestamp_ms=START_MS,
        validators=make_validators([f"v{number}" for number in range(validators)]),
        accounts=tuple(InitialBalance(address, uint256(balance)) for address, balance in accounts),
        parameters=Parameters(**parameters),
    )


def certify(header: BlockHeader, epoch: Epoch, signers: int | None = None) -> BlockCertificate:
    """A certificate by the first members, a quorum unless `signers` says otherwise."""
    count = quorum_of(len(epoch.members)) if signers is None else signers
    digest = block_hash(header)
    signatures = []
    for member in epoch.members[:count]:
        message = vote_bytes(header.genesis_hash, header.epoch, BLOCK_VOTE, 0, header.height, digest, member.node_id)
        signature = key("consensus " + member.name).sign_vote(message)
        signatures.append(BlockSignature(member.node_id, signature))
    signatures.sort(key=lambda entry: entry.sender)
    return BlockCertificate(header.epoch, header.height, digest, tuple(signatures))


class Chain:
    """One executor, its state, and the blocks so far."""

    def __init__(self, genesis: Genesis, applications: Sequence[Application] | None = None) -> None:
        self.genesis = genesis
        self.executor = Executor(genesis, applications if applications is not None else (AccountsApplication(),))
        self.state = AuthenticatedState.from_records(self.executor.genesis_records())
        self.tip = self.executor.genesis_block(self.state.root)
        self.blocks: list[ExecutedBlock] = []
        self.epoch = genesis.first_epoch

    def transfer(
        self,
        sender: str,
        to: str | bytes,
        amount: int,
        nonce: int = 0,
        fee: int = 10,
        valid_until: int = 0,
        memo: bytes = b"",
    ) -> Transaction:
        """A signed transfer; `to` is a name or 20 bytes."""
        receiver = to if isinstance(to, bytes) else key(to).address
        body = Transfer(
            from_=key(sender).address,
            nonce=nonce,
            fee=uint256(fee),
            valid_until=valid_until,
            to=receiver,
            amount=uint256(amount),
            memo=memo,
        )
        return self.executor.types.sign(body, key(sender))

    def run(self, *transactions: Transaction, timestamp_ms: int | None = None) -> ExecutedBlock:
        """Execute them as the next block, one second after its parent unless told otherwise."""
        epoch = self.epoch
        proposal = build_proposal(
            self.genesis.hash,
            epoch.number,
            self.tip.height + 1,
            self.tip.block_time_ms + 1000 if timestamp_ms is None else timestamp_ms,
            epoch.primary(0),
            [transaction.id for transaction in transactions],
        )
        return self._append(self.executor.execute_block(self.tip, epoch, proposal, transactions, self.state, NO_ORDER))

    def run_null(self) -> ExecutedBlock:
        """Execute a null request."""
        epoch = self.epoch
        proposal = null_request(self.genesis.hash, epoch.number, self.tip.height + 1)
        return self._append(self.executor.execute_block(self.tip, epoch, proposal, (), self.state, NO_ORDER))

    def _append(self, block: ExecutedBlock) -> ExecutedBlock:
        self.blocks.append(block)
        self.tip = block.header
        if block.next_epoch:
            self.epoch = decode(Epoch, block.next_epoch)
        return block
