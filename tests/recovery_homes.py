"""Makes home folders whose ledgers hold a chain made on paper, and the keystores of its operators. No processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core_network import Chain, certify, key, make_genesis

from potchain.application.accounts import AccountsApplication
from potchain.application.epochs import taken_over
from potchain.application.execution import Executor
from potchain.application.interface import Application
from potchain.application.state import AuthenticatedState
from potchain.blocks import BlockCertificate, EpochLink, ExecutedBlock
from potchain.config import load_config
from potchain.crypto import SigningKey
from potchain.genesis import Epoch, Genesis, OperatorSignature, Predecessor, RecoveredGenesis, Recovery, Validator
from potchain.genesis_file import render_genesis
from potchain.keyfiles import TEST_ITERATIONS, create_account_file
from potchain.recovery import signing_digest, with_signatures
from potchain.startup import Storage, open_storage

PASSWORD = "correct horse"


class RecoveredChain(Chain):
    """A chain on paper that carries on another."""

    def __init__(self, genesis: RecoveredGenesis, old: AuthenticatedState) -> None:
        self.genesis = genesis
        self.executor = Executor(genesis, (AccountsApplication(),))
        self.state = AuthenticatedState.from_records(taken_over(old.items(), genesis.first_epoch).items())
        self.tip = self.executor.genesis_block(self.state.root)
        self.blocks = []
        self.epoch = genesis.first_epoch


def paid_chain(blocks: int) -> Chain:
    """A chain in which alice pays bob 100 in each block."""
    chain = Chain(make_genesis([("alice", 10**6), ("bob", 0)]))
    for nonce in range(blocks):
        chain.run(chain.transfer("alice", "bob", 100, nonce=nonce))
    return chain


def recovery_of(chain: Chain, certified: ExecutedBlock, epochs: Sequence[Epoch], **changes: object) -> RecoveredGenesis:
    """The recovery of a chain whose last certified block is given; `epochs`: those that have begun.

    Only of a chain that ends there: its state is taken. `changes` replace fields of Recovery and Predecessor.
    """
    ends = {epoch.number: epoch for epoch in epochs}
    links = []
    for block in chain.blocks:
        if block.next_epoch and block.header.epoch + 1 in ends:
            link = EpochLink(block.header, certify(block.header, ends[block.header.epoch]), block.next_epoch)
            links.append(link)
    last, header = epochs[-1], certified.header
    following = Epoch(last.number + 1, header.height + 1, last.members, last.parameters)
    values: dict[str, object] = {
        "genesis_hash": chain.genesis.hash,
        "first_epoch": chain.genesis.first_epoch,
        "links": tuple(links),
        "header": header,
        "certificate": certify(header, ends[header.epoch]),
        "epoch": following.number,
        "state_root": AuthenticatedState.from_records(taken_over(chain.state.items(), following).items()).root,
        "validators": last.members,
        "timestamp_ms": header.block_time_ms,
        "chain_id": chain.genesis.chain_id,
    } | changes
    return RecoveredGenesis(
        chain_id=values["chain_id"],
        timestamp_ms=values["timestamp_ms"],
        validators=values["validators"],
        accounts=(),
        parameters=last.parameters,
        recovery=Recovery(
            epoch=values["epoch"],
            state_root=values["state_root"],
            predecessor=Predecessor(**{name: values[name] for name in Predecessor.__struct_fields__}),
            signatures=(),
        ),
    )


def signed_by(genesis: RecoveredGenesis, *names: str) -> RecoveredGenesis:
    """With the signatures of these validators' operators."""
    digest, keys = signing_digest(genesis), [operator(name) for name in names]
    return with_signatures(genesis, [OperatorSignature(key.address, key.sign_digest(digest)) for key in keys])


def operator(name: str) -> SigningKey:
    """The operator's key of a validator made by `core_network`."""
    return key("operator " + name)


def keystore(folder: Path, name: str) -> tuple[Path, Path]:
    """(keystore, password file) of a validator's operator."""
    path, password = folder / f"operator-{name}.json", folder / "password.txt"
    if not path.exists():
        create_account_file(path, operator(name), PASSWORD, iterations=TEST_ITERATIONS)
    password.write_text(PASSWORD)
    return path, password


def make_home(folder: Path, genesis: Genesis) -> Path:
    """A home without ledger."""
    folder.mkdir()
    (folder / "potchain.toml").write_text("")
    (folder / "genesis.json").write_bytes(render_genesis(genesis))
    return folder


def open_home(home: Path, genesis: Genesis, applications: Sequence[Application] = (AccountsApplication(),)) -> Storage:
    """Its databases; the caller closes them."""
    return open_storage(load_config(home, {}), genesis, Executor(genesis, applications))


def fill(home: Path, chain: Chain, executed: int, certified: int, signers: Sequence[int] | None = None) -> None:
    """Store blocks up to a height, and certificates up to another; `signers`: indexes of who signed them."""
    storage = open_home(home, chain.genesis)
    try:
        new = [block for block in chain.blocks if storage.writer.height < block.height <= executed]
        storage.writer.apply(new)
        storage.writer.store_certificates(
            [
                by(block, chain.epoch, signers)
                for block in chain.blocks
                if block.height <= certified and storage.reader.certificate(block.height) is None
            ]
        )
    finally:
        storage.close()


def by(block: ExecutedBlock, epoch: Epoch, signers: Sequence[int] | None = None) -> BlockCertificate:
    """A block's certificate by these members."""
    if signers is None:
        return certify(block.header, epoch)
    ordered: tuple[Validator, ...] = tuple(epoch.members[index] for index in signers)
    return certify(block.header, Epoch(epoch.number, epoch.first_sequence, ordered, epoch.parameters), len(ordered))
