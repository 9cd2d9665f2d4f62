"""What `potchain recover` does to files: the steps by which operators carry on a network that stopped for good.

    prepare   a stopped node's ledger       -> recovery.json, recovery.state
    sign      recovery.json, beside a home  -> a signature in recovery.json, recovery-signed.json in the home
    combine   several recovery.json         -> one with all signatures
    finish    a quorum's recovery.json      -> genesis.json, genesis.state
    install   genesis.json into a home      -> the old ledger and vote log moved to before-recovery-HEIGHT/

A recovery document is a genesis file whose signatures are still being collected. The state file holds the records after
the last certified block, and its root is in that block. A node is stopped while a step reads or changes its home.
Nothing is believed because it stands in a document: whoever signs derives it again from a ledger of his own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from potchain.api.proving import epoch_links
from potchain.application.epochs import taken_over
from potchain.application.execution import Executor
from potchain.application.state import AuthenticatedState
from potchain.blocks import block_hash
from potchain.config import NodeConfig, load_config
from potchain.consensus.quorum import Quorum
from potchain.crypto import SigningKey, checksum_address
from potchain.errors import ConfigError, GenesisError, InvalidProof, LedgerError
from potchain.genesis import Epoch, Genesis, OperatorSignature, Predecessor, RecoveredGenesis, Recovery
from potchain.genesis_file import parse_genesis, parse_next_epoch, render_genesis, render_state
from potchain.home import CONSENT_FILE, Consent, HomeLock, read_consent
from potchain.ledger.check import check_state, checked_blocks
from potchain.ledger.database import open_database
from potchain.ledger.reader import LedgerReader
from potchain.node import load_genesis, make_executor, require_ledger
from potchain.recovery import (
    follows_from,
    signing_digest,
    verify_predecessor,
    verify_recovery,
    verify_signatures,
    with_signatures,
)
from potchain.registry import load_plugins
from potchain.startup import Storage, initial_records, open_storage, read_state

LEDGER_FILES = ("ledger.sqlite", "votes.sqlite")
"""What a home of the old network has to give up; their -wal and -shm files go with them."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery after a step, and what an operator should know of this node."""

    genesis: RecoveredGenesis
    old_epoch: Epoch
    """Whose operators sign."""
    warnings: tuple[str, ...] = ()

    @property
    def signatures_wanted(self) -> int:
        """How many operators must sign."""
        return quorum_of(len(self.old_epoch.members))


class OldNode(msgspec.Struct, frozen=True):
    """The ledger of a stopped node."""

    genesis: Genesis
    executor: Executor
    storage: Storage

    @property
    def reader(self) -> LedgerReader:
        """Its blocks."""
        return self.storage.reader


def quorum_of(members: int) -> int:
    """Signatures that are needed of so many."""
    return Quorum(members).quorum


def state_file(document: Path) -> Path:
    """Where the state of a recovery document, or of a recovered genesis file, lies."""
    return document.with_suffix(".state")


def prepare(home: Path, out: Path, next_epoch: Path | None = None) -> Outcome:
    """Write the recovery of this node's network from its last certified block; the same bytes at every node, but for
    whose signatures its certificates hold.

    `next_epoch`: a JSON file with the new `validators`, and `parameters` if they change. Raises PotchainError.
    """
    refuse_existing(out, state_file(out))
    changed = None if next_epoch is None else parse_next_epoch(next_epoch.read_bytes(), str(next_epoch))
    with stopped(home) as node:
        certificate = node.reader.highest_certificate()
        if certificate is None:
            raise LedgerError(
                f"{node.reader.database.place} has no certified block above its genesis: nothing to carry on. Ask the "
                f"other operators for a node that has one, or begin a new network"
            )
        height = certificate.height
        header = node.reader.header(height)
        assert header is not None, "a certificate's row refers to its block's"
        state = state_at(node, height)
        last = [epoch for epoch in node.reader.epochs() if epoch.first_sequence <= height + 1][-1]
        members, parameters = changed or (last.members, None)
        following = Epoch(last.number + 1, height + 1, members, parameters or last.parameters)
        records = dict(state.items())
        genesis = RecoveredGenesis(
            chain_id=node.genesis.chain_id,
            timestamp_ms=header.block_time_ms,
            validators=following.members,
            accounts=(),
            parameters=following.parameters,
            recovery=Recovery(
                epoch=following.number,
                state_root=AuthenticatedState.from_records(taken_over(records.items(), following).items()).root,
                predecessor=Predecessor(
                    genesis_hash=node.genesis.hash,
                    first_epoch=node.genesis.first_epoch,
                    links=tuple(epoch_links(node.reader, last.number)),
                    header=header,
                    certificate=certificate,
                ),
                signatures=(),
            ),
        )
        outcome = Outcome(
            genesis=genesis, old_epoch=verify_predecessor(genesis, quorum_of), warnings=left_out(node, height)
        )
    write(state_file(out), render_state(records))
    write(out, render_genesis(genesis))
    return outcome


def sign(document: Path, home: Path, key: SigningKey, *, supersede: bool = False) -> Outcome:
    """Add an operator's signature to a recovery document, after checking all of it against this node's own ledger.

    Refuses when the ledger holds a higher certified block, or another block at that height. Raises PotchainError.
    """
    genesis = read_document(document)
    with stopped(home) as node:
        follows_from(genesis, node.genesis)
        epoch = verify_predecessor(genesis, quorum_of)
        verify_signatures(genesis, epoch)
        if key.address not in {member.operator for member in epoch.members}:
            known = ", ".join(f"{member.name} {checksum_address(member.operator)}" for member in epoch.members)
            raise ConfigError(
                f"{checksum_address(key.address)} is no operator of epoch {epoch.number}, in which the network stopped "
                f"(they are: {known})"
            )
        refuse_loss(node.reader, genesis)
        check_state_root(genesis, records_for(node, genesis, document))
        warnings = left_out(node, genesis.height)
        consent(home, genesis, supersede=supersede)
    signature = OperatorSignature(key.address, key.sign_digest(signing_digest(genesis)))
    signed = with_signatures(genesis, (signature,))
    write(document, render_genesis(signed))
    return Outcome(genesis=signed, old_epoch=epoch, warnings=warnings)


def combine(documents: Sequence[Path], out: Path) -> Outcome:
    """One document with the signatures of all. Raises ConfigError when they are not of one recovery, InvalidProof."""
    refuse_existing(out)
    first, *others = [read_document(path) for path in documents]
    for path, other in zip(documents[1:], others, strict=True):
        if other.hash != first.hash:
            raise ConfigError(
                f"{documents[0]} is the recovery 0x{first.hash.hex()} at height {first.height}, {path} is "
                f"0x{other.hash.hex()} at height {other.height}; agree on one and sign that"
            )
    genesis = with_signatures(first, [entry for other in others for entry in other.recovery.signatures])
    epoch = verify_predecessor(genesis, quorum_of)
    verify_signatures(genesis, epoch)
    write(out, render_genesis(genesis))
    return Outcome(genesis=genesis, old_epoch=epoch)


def finish(document: Path, out: Path) -> Outcome:
    """The new genesis file, and its state beside it, from a document that a quorum signed. Raises PotchainError."""
    refuse_existing(out, state_file(out))
    genesis = read_document(document)
    epoch = verify_recovery(genesis, quorum_of)
    records = read_state(state_file(document), genesis)
    check_state_root(genesis, records)
    write(state_file(out), render_state(records))
    write(out, render_genesis(genesis))
    return Outcome(genesis=genesis, old_epoch=epoch)


def install(source: Path, home: Path) -> Path | None:
    """Put a recovered genesis into a home; where the old ledger and vote log lie now, None when there were none.

    The order of the steps makes it safe to run again after a crash. Raises PotchainError.
    """
    genesis = read_document(source)
    verify_recovery(genesis, quorum_of)
    records = read_state(state_file(source), genesis)
    check_state_root(genesis, records)
    config = load_config(home, os.environ)
    archive = home / f"before-recovery-{genesis.height}"
    with HomeLock(home):
        moving = belongs_to_old(config, genesis)
        if config.genesis_path.exists():
            current = load_genesis(config)
            if current.hash != genesis.hash:
                follows_from(genesis, current)
                archive.mkdir(exist_ok=True)
                write(archive / config.genesis_path.name, config.genesis_path.read_bytes())
        # The genesis goes first: from here on the node does not start before the old ledger has moved.
        write(config.state_path, render_state(records))
        write(config.genesis_path, render_genesis(genesis))
        if moving:
            archive.mkdir(exist_ok=True)
            for path in sorted(path for name in LEDGER_FILES for path in home.glob(f"{name}*")):
                if (archive / path.name).exists():
                    raise ConfigError(f"{archive / path.name} exists and is not overwritten; look what it is")
                path.rename(archive / path.name)
        (home / CONSENT_FILE).unlink(missing_ok=True)
    return archive if archive.exists() else None


# --- parts of the steps -----------------------------------------------------------------------------------------------


@contextmanager
def stopped(home: Path) -> Iterator[OldNode]:
    """The ledger of a home whose node does not run."""
    config = load_config(home, os.environ)
    require_ledger(config)
    genesis = load_genesis(config)
    executor = make_executor(config, load_plugins(config.plugins.disabled), genesis)
    with HomeLock(home):
        storage = open_storage(config, genesis, executor)
        try:
            yield OldNode(genesis, executor, storage)
        finally:
            storage.close()


def state_at(node: OldNode, height: int) -> AuthenticatedState:
    """The state after a block, with every hash and root up to there checked. Raises LedgerCorrupt."""
    state = AuthenticatedState.from_records(initial_records(node.reader, node.genesis, node.executor))
    header = node.executor.genesis_block(state.root)
    for block in checked_blocks(node.reader, node.genesis, header):
        check_state(block, state)
        if block.header.height == height:
            break
    return state


def records_for(node: OldNode, genesis: RecoveredGenesis, document: Path) -> dict[bytes, bytes]:
    """The predecessor's last state: from the own ledger when it reaches so far, else from the state file."""
    if node.reader.tip().height >= genesis.height:
        return dict(state_at(node, genesis.height).items())
    return read_state(state_file(document), genesis)


def check_state_root(genesis: RecoveredGenesis, records: dict[bytes, bytes]) -> None:
    """Raises InvalidProof when the document's state root is not what follows from that state."""
    root = AuthenticatedState.from_records(taken_over(records.items(), genesis.first_epoch).items()).root
    if root != genesis.recovery.state_root:
        raise InvalidProof(
            f"the recovery's state_root is 0x{genesis.recovery.state_root.hex()}, from the state after block "
            f"{genesis.height} follows 0x{root.hex()}; do not sign or install it"
        )


def refuse_loss(reader: LedgerReader, genesis: RecoveredGenesis) -> None:
    """Raises InvalidProof when this ledger shows that the recovery would leave a certified block out."""
    height, taken = genesis.height, genesis.parent_hash
    held = reader.highest_certificate()
    if held is not None and held.height > height:
        raise InvalidProof(
            f"this node holds a certified block above the recovery's: height {held.height}, block "
            f"0x{held.block_hash.hex()}; the recovery ends at height {height}, block 0x{taken.hex()}, and would take "
            f"back what was final. Prepare it again from this node's ledger: potchain recover prepare"
        )
    own = reader.header(height)
    if own is not None and block_hash(own) != taken:
        raise InvalidProof(
            f"this node has another block at height {height}: 0x{block_hash(own).hex()}, the recovery has "
            f"0x{taken.hex()}. One of the two was made by faulty validators: compare the nodes before anybody signs"
        )


def left_out(node: OldNode, height: int) -> tuple[str, ...]:
    """What an operator should know of blocks here that nobody can prove."""
    above = node.reader.tip().height - height
    if above <= 0:
        return ()
    return (
        f"{above} block(s) above height {height} were executed here and are not certified: the recovery drops them. "
        f"If another node has a certificate for one of them, prepare the recovery there",
    )


def consent(home: Path, genesis: RecoveredGenesis, *, supersede: bool) -> None:
    """Note in the home that it gives the old network up. Raises ConfigError when it did so for another recovery."""
    given = Consent(
        old_genesis_hash="0x" + genesis.recovery.predecessor.genesis_hash.hex(),
        genesis_hash="0x" + genesis.hash.hex(),
        height=genesis.height,
        block_hash="0x" + genesis.parent_hash.hex(),
    )
    before = read_consent(home)
    if before is not None and before.genesis_hash != given.genesis_hash and not supersede:
        raise ConfigError(
            f"another recovery was signed beside {home}: {before.genesis_hash} at height {before.height}, this one is "
            f"{given.genesis_hash} at height {given.height}. With a quorum for each there would be two networks. When "
            f"all operators have dropped the other one: --supersede"
        )
    write(home / CONSENT_FILE, msgspec.json.encode(given) + b"\n")


def belongs_to_old(config: NodeConfig, genesis: RecoveredGenesis) -> bool:
    """Whether this home's ledger is the old network's, and so has to move. Raises PotchainError when it may not."""
    if not config.ledger.url and not (config.home / LEDGER_FILES[0]).exists():
        return any((config.home / name).exists() for name in LEDGER_FILES)
    database = open_database(config.ledger_url, role="ledger")
    try:
        reader = LedgerReader(database)
        if not reader.is_made():
            return False
        stored = reader.genesis_hash()
        if stored == genesis.hash:
            return False
        if stored is not None and stored != genesis.recovery.predecessor.genesis_hash:
            raise ConfigError(
                f"{database.place} belongs to the network with genesis 0x{stored.hex()}, which this recovery does not "
                f"carry on; choose the right home folder"
            )
        refuse_loss(reader, genesis)
        if config.ledger.url:
            raise ConfigError(
                f"{database.place} is the old network's and is not moved by this program: name empty databases in "
                f"ledger.url and ledger.votes_url of {config.home}, keep the old ones, and run this again"
            )
        return True
    finally:
        database.close()


def read_document(path: Path) -> RecoveredGenesis:
    """A recovery document or a recovered genesis, not verified. Raises GenesisError."""
    genesis = parse_genesis(path.read_bytes(), str(path))
    if not isinstance(genesis, RecoveredGenesis):
        raise GenesisError(str(path), ["it has no `recovered`: this is the genesis of a network that begins anew"])
    return genesis


def refuse_existing(*paths: Path) -> None:
    """Raises ConfigError for a file that is there already."""
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path} exists already and is not overwritten; choose another --out")


def write(path: Path, data: bytes) -> None:
    """Replace a file as a whole, durably."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
