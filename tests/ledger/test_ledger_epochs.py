"""A ledger over three epochs, on both databases: start check, verification, proofs, and what a start finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from core_network import NO_ORDER, Chain, certify, key, make_genesis, make_validators, quorum_of
from epoch_application import EpochApplication, change

from potchain.api.proving import epoch_links, prove
from potchain.application.accounts import AccountsApplication, account_key
from potchain.application.state import AuthenticatedState
from potchain.blocks import OrderCertificate, TransactionProof
from potchain.codec import encode
from potchain.errors import InvalidProof, LedgerCorrupt
from potchain.genesis import Epoch, epoch_digest
from potchain.genesis_file import render_genesis
from potchain.ledger import schema
from potchain.ledger.check import check_chain
from potchain.ledger.database import Database
from potchain.ledger.projection import Projector
from potchain.ledger.reader import LedgerReader
from potchain.ledger.schema import Role
from potchain.ledger.state_rows import state_at_tip
from potchain.ledger.verify import Authorities, verify_chain
from potchain.ledger.votes import VoteLog
from potchain.ledger.writer import LedgerWriter
from potchain.primitives import NodeId
from potchain.proofs import StateProof, proof_to_json, verify_state_proof, verify_transaction_proof
from potchain.startup import Reexecution, Started, Storage, begun_epochs, load_boot

EVERYBODY = make_validators([f"v{number}" for number in range(6)])
BOUNDARIES = (12, 28)
"""A change in block 1 ends epoch 0 at 12; one in block 14 ends epoch 1 at 28, with a window of 12 by then."""


class EpochLedger:
    """Three epochs: v0 to v3; then v1 to v4 with a larger window; then v2 to v5."""

    def __init__(self, database: Database, height: int = 31, certified: int = 31) -> None:
        genesis = make_genesis([("alice", 10_000)], 4, checkpoint_interval=4, log_window=8)
        self.chain = chain = Chain(genesis, (AccountsApplication(), EpochApplication(EVERYBODY)))
        self.database = database
        records = tuple(chain.executor.genesis_records())
        self.genesis_header = chain.tip
        self.writer = LedgerWriter(database)
        self.writer.initialise(genesis, chain.tip, records)
        self.reader = LedgerReader(database)
        self.epochs = [chain.epoch]
        self.grow(height, certified)
        Projector(database, chain.executor.types, chain.executor.event_types).catch_up()

    def grow(self, height: int, certified: int) -> None:
        """Up to a height; blocks above `certified` get no certificate yet."""
        for stored in range(1, min(self.chain.tip.height, certified) + 1):
            block = self.chain.blocks[stored - 1]
            self.writer.store_certificates([certify(block.header, self.epochs[block.header.epoch])])
        while self.chain.tip.height < height:
            self._grow(certified)

    def _grow(self, certified: int) -> None:
        chain, height = self.chain, self.chain.tip.height + 1
        transactions = {
            1: [change(chain.executor.types, "alice", 0, ["v1", "v2", "v3", "v4"], {"log_window": 12})],
            14: [change(chain.executor.types, "alice", 1, ["v2", "v3", "v4", "v5"])],
            30: [chain.transfer("alice", "bob", 7, nonce=2)],
        }.get(height, [])
        epoch = chain.epoch
        block = chain.run(*transactions)
        self.writer.apply([block])
        if height <= certified:
            self.writer.store_certificates([certify(block.header, epoch)])
        if chain.epoch is not epoch:
            self.epochs.append(chain.epoch)

    def authorities(self) -> Authorities:
        executor = self.chain.executor
        state = AuthenticatedState.from_records(executor.genesis_records())
        return Authorities(
            genesis=self.chain.genesis,
            genesis_header=self.genesis_header,
            types=executor.types,
            event_types=executor.event_types,
            verify_order=self._verify_order,
            execute=Reexecution(executor, state, self.genesis_header),
        )

    def _verify_order(
        self, certificate: OrderCertificate, genesis_hash: bytes, epoch: Epoch, sequence: int, digest: bytes
    ) -> None:
        expected = sum(sequence > boundary for boundary in BOUNDARIES)
        if certificate != NO_ORDER or epoch != self.epochs[expected]:
            raise InvalidProof(f"sequence {sequence} is checked against epoch {epoch.number}")

    def check(self) -> None:
        check_chain(LedgerReader(self.database), self.chain.genesis, self.genesis_header, AuthenticatedState())

    def verify(self) -> None:
        verify_chain(LedgerReader(self.database), self.authorities(), AuthenticatedState())

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        with self.database.write() as connection:
            marks = "?" if self.database.is_sqlite else "%s"
            connection.exec_driver_sql(sql.replace("?", marks), parameters)


@pytest.fixture
def ledger(open_role: Callable[[Role], Database]) -> EpochLedger:
    return EpochLedger(open_role("ledger"))


def test_epochs_are_stored_with_the_blocks_that_name_them(ledger: EpochLedger) -> None:
    assert [epoch.first_sequence for epoch in ledger.epochs] == [1, 13, 29]
    assert ledger.reader.epochs() == tuple(ledger.epochs)
    for epoch, boundary in zip(ledger.epochs[1:], BOUNDARIES, strict=True):
        header = ledger.reader.header(boundary)
        assert header is not None
        assert header.next_epoch == epoch_digest(epoch)
        assert header.epoch == epoch.number - 1
    ledger.check()
    ledger.verify()
    assert dict(state_at_tip(ledger.reader)) == dict(ledger.chain.state.items())


def test_an_epoch_that_is_missing_changed_or_misplaced_is_found(ledger: EpochLedger) -> None:
    second = ledger.epochs[1]
    bribed = msgspec.structs.replace(second, members=EVERYBODY[:4])
    for changed in (bribed, msgspec.structs.replace(second, first_sequence=14)):
        ledger.execute(
            "UPDATE epochs SET first_sequence = ?, digest = ?, data = ? WHERE number = 1",
            (changed.first_sequence, epoch_digest(changed), encode(changed)),
        )
        with pytest.raises(LedgerCorrupt) as caught:
            ledger.check()
        assert caught.value.height == 12
    ledger.execute("DELETE FROM epochs WHERE number = 1")
    with pytest.raises(LedgerCorrupt, match="the epoch that it names, 1, is missing"):
        ledger.check()


def test_a_boundary_without_its_certificate_is_found(ledger: EpochLedger) -> None:
    ledger.execute("DELETE FROM block_certificates WHERE height = 12")
    with pytest.raises(LedgerCorrupt, match="epoch 1 began, but the block before it has no certificate") as caught:
        ledger.check()
    assert caught.value.height == 12


def test_a_certificate_by_the_wrong_epochs_validators_is_found(ledger: EpochLedger) -> None:
    block = ledger.chain.blocks[13]
    forged = msgspec.structs.replace(ledger.epochs[0], number=1)
    ledger.execute("DELETE FROM block_certificates WHERE height = 14")
    ledger.writer.store_certificates([certify(block.header, forged)])
    ledger.check()
    with pytest.raises(LedgerCorrupt, match="is no member of epoch 1") as caught:
        ledger.verify()
    assert caught.value.height == 14


def test_an_epoch_begins_with_the_certificate_of_the_block_before_it(open_role: Callable[[Role], Database]) -> None:
    ledger = EpochLedger(open_role("ledger"), height=12, certified=11)
    assert len(ledger.reader.epochs()) == 2, "it is named"
    assert begun_epochs(ledger.reader) == tuple(ledger.epochs[:1])
    ledger.writer.store_certificates([certify(ledger.chain.tip, ledger.epochs[0])])
    assert begun_epochs(ledger.reader) == tuple(ledger.epochs)


def boot_of(ledger: EpochLedger, votes: Database) -> Started:
    """What a start of v2 finds."""
    chain = ledger.chain
    projector = Projector(ledger.database, chain.executor.types, chain.executor.event_types)
    vote_log = VoteLog(votes, chain.genesis.hash)
    storage = Storage(ledger.database, votes, ledger.writer, ledger.reader, projector, vote_log)
    me = NodeId(EVERYBODY[2].node_id)
    return load_boot(storage, chain.genesis, chain.executor, key("consensus v2"), me, chain.state)


def test_a_start_finds_the_epoch_and_the_stable_checkpoint(open_role: Callable[[Role], Database]) -> None:
    ledger = EpochLedger(open_role("ledger"), 11, 11)
    votes = open_role("votes")
    for height, certified, number, stable, earlier in (
        (11, 11, 0, 8, []),
        (12, 11, 0, 8, []),
        (12, 12, 1, 12, [0]),
        (15, 12, 1, 12, [0]),
        (16, 16, 1, 16, [0]),
        (31, 31, 2, 28, [1]),
    ):
        ledger.grow(height, certified)
        started = boot_of(ledger, votes)
        boot = started.replica
        assert (started.epoch.number, boot.stable) == (number, stable)
        assert [epoch.number for epoch in boot.earlier_epochs] == earlier
        decided = [proposal.header.sequence for proposal in boot.decided_proposals]
        assert decided == list(range(boot.stable + 1, height + 1))


def test_epochs_with_heights_that_lack_certificates_are_remembered(open_role: Callable[[Role], Database]) -> None:
    ledger = EpochLedger(open_role("ledger"))
    ledger.execute("DELETE FROM block_certificates WHERE height = 7")
    boot = boot_of(ledger, open_role("votes")).replica
    assert [epoch.number for epoch in boot.earlier_epochs] == [0, 1]
    assert [height for height, _ in boot.uncertified] == [7]


# --- proofs ---------------------------------------------------------------------------------------------------------


def transfer_proof(ledger: EpochLedger) -> TransactionProof:
    proof = prove(ledger.reader, 30, 0)
    assert proof is not None
    return proof


def check_proof(ledger: EpochLedger, proof: TransactionProof) -> int:
    genesis = ledger.chain.genesis
    return verify_transaction_proof(proof, genesis, ledger.chain.executor.types, quorum_of).header.epoch


def test_a_proof_over_two_boundaries_holds_and_tampered_ones_do_not(ledger: EpochLedger) -> None:
    proof = transfer_proof(ledger)
    assert [link.header.height for link in proof.epochs] == list(BOUNDARIES)
    assert check_proof(ledger, proof) == 2
    first, second = proof.epochs
    replace = msgspec.structs.replace
    bribed = replace(ledger.epochs[1], members=EVERYBODY[:4])
    by_later_validators = certify(first.header, replace(ledger.epochs[2], number=0))
    lying = replace(first.header, next_epoch=epoch_digest(bribed))
    for links in (
        (),
        (first,),
        (second,),
        (second, first),
        (first, first, second),
        (replace(first, next_epoch=encode(bribed)), second),
        (replace(first, header=lying, next_epoch=encode(bribed)), second),
        (replace(first, certificate=by_later_validators), second),
        (replace(first, certificate=second.certificate), second),
        (first, replace(second, next_epoch=first.next_epoch)),
    ):
        with pytest.raises(InvalidProof):
            check_proof(ledger, replace(proof, epochs=links))
    with pytest.raises(InvalidProof):
        check_proof(ledger, replace(proof, certificate=certify(proof.header, replace(ledger.epochs[0], number=2))))


def test_a_state_proof_over_two_boundaries_shows_the_account_and_the_epoch(ledger: EpochLedger) -> None:
    chain = ledger.chain
    links = tuple(epoch_links(ledger.reader, 2))
    certificate = ledger.reader.certificate(31)
    assert certificate is not None
    for record in (account_key(key("bob").address), b"epoch/current", b"epoch/pending"):
        branch = chain.state.prove(record)
        proof = StateProof(
            header=chain.tip,
            certificate=certificate,
            key=record,
            value=chain.state.get(record),
            siblings=branch.siblings,
            other_leaf=branch.other_leaf,
            epochs=links,
        )
        assert verify_state_proof(proof, chain.genesis, quorum_of).value == chain.state.get(record)
        with pytest.raises(InvalidProof):
            verify_state_proof(msgspec.structs.replace(proof, epochs=links[:1]), chain.genesis, quorum_of)
    assert chain.state.get(b"epoch/current") == encode(ledger.epochs[2])


def test_the_command_checks_it_offline(
    ledger: EpochLedger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from potchain import cli

    proof = transfer_proof(ledger)
    genesis_file, proof_file = tmp_path / "genesis.json", tmp_path / "proof.json"
    genesis_file.write_bytes(render_genesis(ledger.chain.genesis))
    proof_file.write_bytes(msgspec.json.encode(proof_to_json(proof)))
    assert cli.main(["verify", str(proof_file), "--genesis", str(genesis_file)]) == 0
    assert "the proof holds" in capsys.readouterr().out
    proof_file.write_bytes(msgspec.json.encode(proof_to_json(msgspec.structs.replace(proof, epochs=proof.epochs[1:]))))
    assert cli.main(["verify", str(proof_file), "--genesis", str(genesis_file)]) != 0


def test_no_table_prunes_a_boundary(ledger: EpochLedger) -> None:
    """Nothing deletes blocks, certificates or epochs: proofs since genesis need them for good."""
    assert not {schema.blocks, schema.block_certificates, schema.epochs} & set(schema.PROJECTIONS)
    Projector(ledger.database, ledger.chain.executor.types, ledger.chain.executor.event_types).reindex()
    assert check_proof(ledger, transfer_proof(ledger)) == 2
