"""`potchain recover` on homes whose ledgers were made on paper: the steps, and everything that they refuse."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from core_network import Chain, key, make_genesis
from recovery_homes import (
    RecoveredChain,
    fill,
    keystore,
    make_home,
    open_home,
    operator,
    paid_chain,
    signed_by,
)

from potchain import cli
from potchain.application.accounts import AccountsApplication, load_account
from potchain.application.execution import Executor
from potchain.cli.program import EXIT_FAILED, EXIT_NODE, EXIT_OK, EXIT_USAGE
from potchain.genesis import RecoveredGenesis
from potchain.genesis_file import parse_genesis, parse_state, render_genesis, render_state
from potchain.home import CONSENT_FILE, HomeLock
from potchain.primitives import uint
from potchain.startup import load_boot, load_state

HEIGHT = 5


class Desk:
    """Four stopped nodes of one network whose highest certified block is 5, and the command line."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.chain = paid_chain(HEIGHT + 2)
        self.homes = [folder / f"node{index}" for index in range(4)]
        self.document = folder / "recovery.json"
        self.genesis = folder / "genesis.json"

    def run(self, *words: str | Path, code: int = EXIT_OK) -> dict[str, Any]:
        """`potchain recover ... --json`; its document."""
        assert cli.main(["recover", *map(str, words), "--json"]) == code, self.capsys.readouterr().err
        found: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return found

    def refused(self, code: int, *words: str | Path) -> str:
        """The one message with which it is refused."""
        assert cli.main(["recover", *map(str, words)]) == code
        captured = self.capsys.readouterr()
        assert captured.out == ""
        return captured.err

    def prepare(self, node: int = 0, *words: str | Path) -> dict[str, Any]:
        return self.run("prepare", "--home", self.homes[node], "--out", self.document, *words)

    def sign_words(self, node: int, document: Path | None = None, by: str | None = None) -> list[str | Path]:
        store, password = keystore(self.folder, by or f"v{node}")
        at = ["--home", self.homes[node], "--operator", store, "--password-file", password]
        return ["sign", document or self.document, *at]

    def finished(self) -> RecoveredGenesis:
        """A genesis that three operators signed, with its files."""
        self.prepare()
        for node in (0, 1, 2):
            self.run(*self.sign_words(node))
        self.run("finish", self.document, "--out", self.genesis)
        return self.read(self.genesis)

    def read(self, path: Path) -> RecoveredGenesis:
        genesis = parse_genesis(path.read_bytes(), str(path))
        assert isinstance(genesis, RecoveredGenesis)
        return genesis

    def change(self, change: Callable[[Any], None]) -> None:
        """Edit the document by hand."""
        loaded = json.loads(self.document.read_bytes())
        change(loaded)
        self.document.write_text(json.dumps(loaded))


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that each test gets a copy of."""
    folder = tmp_path_factory.mktemp("homes")
    chain = paid_chain(HEIGHT + 2)
    first, ahead, behind, last = (make_home(folder / f"node{index}", chain.genesis) for index in range(4))
    fill(first, chain, HEIGHT, HEIGHT)
    fill(ahead, chain, HEIGHT + 1, HEIGHT, signers=(1, 2, 3))  # one block that nobody can prove
    fill(behind, chain, HEIGHT - 2, HEIGHT - 2)
    fill(last, chain, HEIGHT, HEIGHT)
    for name in ("v0", "v1", "v2", "v3"):
        keystore(folder, name)
    return folder


@pytest.fixture
def desk(tmp_path: Path, homes: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    shutil.copytree(homes, tmp_path, dirs_exist_ok=True)
    return Desk(tmp_path, capsys)


# --- the way through --------------------------------------------------------------------------------------------------


def test_two_nodes_with_the_same_certified_block_prepare_the_same_recovery(desk: Desk) -> None:
    first = desk.prepare(0)
    again, other = desk.folder / "again.json", desk.folder / "other.json"
    desk.run("prepare", "--home", desk.homes[3], "--out", again)
    assert again.read_bytes() == desk.document.read_bytes()
    # Another quorum's signatures on the same block: another file, the same network.
    second = desk.run("prepare", "--home", desk.homes[1], "--out", other)
    assert other.read_bytes() != desk.document.read_bytes()
    assert second["genesis_hash"] == first["genesis_hash"]
    assert other.with_suffix(".state").read_bytes() == desk.document.with_suffix(".state").read_bytes()
    assert (first["height"], first["epoch"], first["signatures_wanted"]) == (HEIGHT, 1, 3)
    assert first["warnings"] == []
    assert "1 block(s) above height 5 were executed here and are not certified" in second["warnings"][0]


def test_a_quorum_signs_and_the_new_ledger_goes_on_with_the_state_of_the_old(desk: Desk) -> None:
    genesis = desk.finished()
    answer = desk.run("install", desk.genesis, "--home", desk.homes[0])
    archive = Path(answer["archive"])
    assert archive == desk.homes[0] / "before-recovery-5"
    assert {"genesis.json", "ledger.sqlite", "votes.sqlite"} <= {path.name for path in archive.iterdir()}
    assert not (desk.homes[0] / CONSENT_FILE).exists()
    storage = open_home(desk.homes[0], genesis)
    try:
        executor = Executor(genesis, (AccountsApplication(),))
        state = load_state(storage, genesis, executor, full=True, progress=lambda height, tip: None)
        assert storage.reader.tip().height == HEIGHT
        alice = load_account(state, key("alice").address)
        assert (alice.nonce, uint(alice.balance)) == (HEIGHT, 10**6 - HEIGHT * 110)
        started = load_boot(storage, genesis, executor, operator("v0"), genesis.first_epoch.ids[0], state)
        assert not started.replica.doubtful
        assert (started.replica.certified, started.replica.stable, started.epoch.number) == (HEIGHT, HEIGHT, 1)
        assert storage.reader.sync_blocks(0, 10, 10**6) == []
        assert storage.reader.heights_without_certificate(0) == ()
    finally:
        storage.close()
    # A second start finds the state in the ledger and needs the file no more.
    (desk.homes[0] / "genesis.state").unlink()
    carried_on = go_on(desk, genesis)
    assert carried_on.tip.height == HEIGHT + 3


def go_on(desk: Desk, genesis: RecoveredGenesis) -> Chain:
    """Three more blocks on node 0's new ledger, checked and projected."""
    old = paid_chain(HEIGHT)
    chain = RecoveredChain(genesis, old.state)
    for nonce in range(HEIGHT, HEIGHT + 3):
        chain.run(chain.transfer("alice", "bob", 100, nonce=nonce))
    fill(desk.homes[0], chain, HEIGHT + 3, HEIGHT + 3)
    storage = open_home(desk.homes[0], genesis)
    try:
        storage.projector.catch_up()
        assert storage.projector.height == HEIGHT + 3
        storage.projector.reindex()
        for full in (True, False):
            state = load_state(storage, genesis, chain.executor, full=full, progress=lambda height, tip: None)
            assert state.root == chain.state.root
        bob = load_account(state, key("bob").address)
        assert uint(bob.balance) == (HEIGHT + 3) * 100
        place = storage.reader.locate(chain.blocks[0].proposal.transaction_ids[0])
        assert place == (HEIGHT + 1, 0)
    finally:
        storage.close()
    return chain


def test_a_recovered_network_can_be_recovered_again(desk: Desk) -> None:
    genesis = desk.finished()
    desk.run("install", desk.genesis, "--home", desk.homes[0])
    go_on(desk, genesis)
    document, out = desk.folder / "second.json", desk.folder / "second-genesis.json"
    answer = desk.run("prepare", "--home", desk.homes[0], "--out", document)
    assert (answer["height"], answer["epoch"]) == (HEIGHT + 3, 2)
    document.write_bytes(render_genesis(signed_by(desk.read(document), "v0", "v1", "v3")))
    desk.run("finish", document, "--out", out)
    desk.run("install", out, "--home", desk.homes[0])
    second = desk.read(out)
    assert second.recovery.predecessor.genesis_hash == genesis.hash
    open_home(desk.homes[0], second).close()


def test_signatures_of_several_copies_are_put_together(desk: Desk) -> None:
    desk.prepare()
    copies = []
    for node in (0, 1, 3):
        copies.append(desk.folder / f"copy{node}.json")
        copies[-1].write_bytes(desk.document.read_bytes())
        assert desk.run(*desk.sign_words(node, copies[-1]))["signed_by"] == [f"v{node}"]
    out = desk.folder / "all.json"
    answer = desk.run("combine", *copies, "--out", out)
    assert sorted(answer["signed_by"]) == ["v0", "v1", "v3"]
    out.with_suffix(".state").write_bytes(desk.document.with_suffix(".state").read_bytes())
    desk.run("finish", out, "--out", desk.genesis)


def test_signing_twice_changes_nothing(desk: Desk) -> None:
    desk.prepare()
    desk.run(*desk.sign_words(0))
    before = desk.document.read_bytes()
    desk.run(*desk.sign_words(0))
    assert desk.document.read_bytes() == before


def test_another_validator_set_may_go_on(desk: Desk) -> None:
    validators = json.loads(render_genesis(desk.chain.genesis))["validators"][:3]
    file = desk.folder / "validators.json"
    file.write_text(json.dumps({"validators": validators}))
    answer = desk.prepare(0, "--validators", file)
    assert answer["validators"] == ["v0", "v1", "v2"]
    assert answer["signatures_wanted"] == 3  # of the old four


def test_a_home_without_ledger_takes_the_new_genesis(desk: Desk) -> None:
    genesis = desk.finished()
    fresh = make_home(desk.folder / "fresh", desk.chain.genesis)
    (fresh / "genesis.json").unlink()
    assert desk.run("install", desk.genesis, "--home", fresh)["archive"] is None
    open_home(fresh, genesis).close()


def test_an_install_that_was_interrupted_is_run_again(desk: Desk) -> None:
    genesis = desk.finished()
    home = desk.homes[0]
    for suffix in (".json", ".state"):  # the genesis went first, and nothing after it
        (home / f"genesis{suffix}").write_bytes(desk.genesis.with_suffix(suffix).read_bytes())
    assert "holds the network as it was before the recovery at height 5" in start_refusal(desk, home)
    desk.run("install", desk.genesis, "--home", home)
    open_home(home, genesis).close()
    desk.run("install", desk.genesis, "--home", home)  # and once more, after it has started


def start_refusal(desk: Desk, home: Path) -> str:
    assert cli.main(["ledger", "verify", "--home", str(home)]) == EXIT_NODE
    return desk.capsys.readouterr().err


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_node_with_a_higher_certified_block_refuses_to_sign_and_names_both(desk: Desk) -> None:
    desk.prepare(2)  # behind: its highest certified block is 3
    fault = desk.refused(EXIT_FAILED, *desk.sign_words(0))
    blocks = desk.chain.blocks
    assert f"above the recovery's: height 5, block 0x{blocks[4].hash.hex()}" in fault
    assert f"ends at height 3, block 0x{blocks[2].hash.hex()}" in fault
    assert not (desk.homes[0] / CONSENT_FILE).exists()


def test_a_node_with_a_higher_certified_block_refuses_the_genesis_too(desk: Desk) -> None:
    desk.prepare(2)
    desk.document.write_bytes(render_genesis(signed_by(desk.read(desk.document), "v1", "v2", "v3")))
    desk.run("finish", desk.document, "--out", desk.genesis)
    assert "would take back what was final" in desk.refused(
        EXIT_FAILED, "install", desk.genesis, "--home", desk.homes[0]
    )
    assert (desk.homes[0] / "ledger.sqlite").exists()


def test_a_node_with_another_block_at_that_height_refuses_to_sign(desk: Desk) -> None:
    other = Chain(desk.chain.genesis)
    for nonce in range(HEIGHT):
        other.run(other.transfer("alice", "bob", 7, nonce=nonce))
    home = make_home(desk.folder / "other", other.genesis)
    fill(home, other, HEIGHT, HEIGHT - 1)
    desk.homes[1] = home
    desk.prepare()
    fault = desk.refused(EXIT_FAILED, *desk.sign_words(1))
    assert f"another block at height 5: 0x{other.blocks[4].hash.hex()}" in fault
    assert f"the recovery has 0x{desk.chain.blocks[4].hash.hex()}" in fault


def test_a_stranger_to_the_old_epoch_may_not_sign(desk: Desk) -> None:
    desk.prepare()
    fault = desk.refused(EXIT_USAGE, *desk.sign_words(0, by="mallory"))
    assert "is no operator of epoch 0, in which the network stopped (they are: v0 0x" in fault


def test_too_few_signatures_make_no_genesis(desk: Desk) -> None:
    desk.prepare()
    for node in (0, 1):
        desk.run(*desk.sign_words(node))
    fault = desk.refused(EXIT_FAILED, "finish", desk.document, "--out", desk.genesis)
    assert "2 of 4 operators signed the recovery, 3 are needed; not yet: v2, v3" in fault
    assert not desk.genesis.exists()


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("recovered", "state_root"), "0x" + "00" * 32, "from the state after block 5 follows 0x"),
        (("recovered", "epoch"), 9, "epoch 9 does not follow epoch 0"),
        (("recovered", "predecessor", "genesis_hash"), "0x" + "11" * 32, "is of the network with genesis 0x1111"),
        (("recovered", "predecessor", "header", "height"), 4, "the certificate is of epoch 0 and height 5"),
        (("recovered", "predecessor", "header", "state_root"), "0x" + "00" * 32, "not of this header"),
        (("recovered", "predecessor", "certificate", "signatures"), [], "has 0 signatures, needs 3"),
        (("recovered", "predecessor", "first_epoch", "members"), [], "other first validators"),
        (("chain_id",), "another", "chain_id is 'another'"),
        (("timestamp_ms",), 1, "the time of block 5 is"),
    ],
)  # fmt: skip
def test_what_was_changed_in_the_document_is_not_signed(
    desk: Desk, path: Sequence[str], value: object, fault: str
) -> None:
    desk.prepare()

    def change(document: Any) -> None:  # noqa: ANN401 - JSON
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = value

    desk.change(change)
    assert fault in desk.refused(EXIT_FAILED, *desk.sign_words(0))


def test_a_certificate_by_others_is_not_signed(desk: Desk) -> None:
    desk.prepare()

    def change(document: Any) -> None:  # noqa: ANN401 - JSON
        signatures = document["recovered"]["predecessor"]["certificate"]["signatures"]
        signatures[0]["signature"] = signatures[1]["signature"]

    desk.change(change)
    assert "bad block signature by 0x" in desk.refused(EXIT_FAILED, *desk.sign_words(0))


def test_what_was_changed_after_signing_is_refused(desk: Desk) -> None:
    desk.prepare()
    desk.run(*desk.sign_words(0))
    desk.change(lambda document: document["validators"].pop())
    for words in (desk.sign_words(1), ["combine", desk.document, "--out", desk.folder / "all.json"]):
        assert "something was changed after it was signed" in desk.refused(EXIT_FAILED, *words)


def test_rubbish_is_refused_by_name(desk: Desk) -> None:
    desk.document.write_text("{")
    assert "not JSON" in desk.refused(EXIT_USAGE, *desk.sign_words(0))
    desk.document.write_bytes(render_genesis(desk.chain.genesis))
    assert "it has no `recovered`" in desk.refused(EXIT_USAGE, *desk.sign_words(0))


def test_a_state_that_is_not_the_block_s_is_refused(desk: Desk) -> None:
    desk.prepare()
    state = desk.document.with_suffix(".state")
    records = parse_state(state.read_bytes(), "state")
    state.write_bytes(render_state(records | {b"account/x": b"money"}))
    # Node 2 has not reached that height and must believe the file, node 0 derives the state itself.
    assert "this is the state of another block, or it was changed" in desk.refused(EXIT_USAGE, *desk.sign_words(2))
    for node in (0, 1, 3):
        desk.run(*desk.sign_words(node))
    assert "of another block" in desk.refused(EXIT_USAGE, "finish", desk.document, "--out", desk.genesis)
    state.unlink()
    assert "cannot be read (No such file" in desk.refused(EXIT_USAGE, "finish", desk.document, "--out", desk.genesis)


def test_two_recoveries_are_not_signed_beside_one_home_by_mistake(desk: Desk) -> None:
    desk.prepare()
    desk.run(*desk.sign_words(0))
    validators = json.loads(render_genesis(desk.chain.genesis))["validators"][:3]
    file, other = desk.folder / "validators.json", desk.folder / "other.json"
    file.write_text(json.dumps({"validators": validators}))
    desk.run("prepare", "--home", desk.homes[0], "--out", other, "--validators", file)
    fault = desk.refused(EXIT_USAGE, *desk.sign_words(0, other))
    assert "another recovery was signed beside" in fault
    assert "--supersede" in fault
    desk.run(*desk.sign_words(0, other), "--supersede")
    both = desk.refused(EXIT_USAGE, "combine", desk.document, other, "--out", desk.folder / "all.json")
    assert "agree on one and sign that" in both


def test_a_node_whose_operator_signed_does_not_start_on_the_old_network(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.prepare()
    desk.run(*desk.sign_words(0))
    assert cli.main(["start", "--home", str(desk.homes[0])]) == EXIT_USAGE
    fault = capsys.readouterr().err
    assert "of this network at height 5 was signed beside" in fault
    assert "potchain recover install GENESIS --home" in fault


def test_a_node_does_not_start_with_a_genesis_that_too_few_signed(desk: Desk) -> None:
    desk.prepare()
    home = make_home(desk.folder / "fresh", desk.chain.genesis)
    for suffix in (".json", ".state"):
        (home / f"genesis{suffix}").write_bytes(desk.document.with_suffix(suffix).read_bytes())
    assert cli.main(["start", "--home", str(home)]) == EXIT_USAGE
    assert "0 of 4 operators signed the recovery, 3 are needed" in desk.capsys.readouterr().err


def test_a_fresh_home_without_the_state_says_which_file_it_lacks(desk: Desk) -> None:
    desk.finished()
    home = make_home(desk.folder / "fresh", desk.chain.genesis)
    (home / "genesis.json").write_bytes(desk.genesis.read_bytes())
    (home / "ledger.sqlite").touch()
    assert cli.main(["ledger", "verify", "--home", str(home)]) == EXIT_USAGE
    assert "genesis.state has 1 fault(s)" in desk.capsys.readouterr().err


def test_a_state_changed_in_the_new_ledger_is_found(desk: Desk) -> None:
    genesis = desk.finished()
    desk.run("install", desk.genesis, "--home", desk.homes[0])
    open_home(desk.homes[0], genesis).close()
    with sqlite3.connect(desk.homes[0] / "ledger.sqlite") as database:
        changes = render_state({b"account/x": b"money"})
        database.execute("UPDATE blocks SET changes = ? WHERE height = 5", (changes,))
    assert cli.main(["ledger", "verify", "--home", str(desk.homes[0])]) == EXIT_FAILED
    assert "ledger is corrupt at height 5: the initial state has root 0x" in desk.capsys.readouterr().err


def test_another_network_s_home_does_not_take_the_genesis(desk: Desk) -> None:
    desk.finished()
    other = Chain(make_genesis([("carol", 5)]))
    home = make_home(desk.folder / "other", other.genesis)
    assert "the recovery is of the network with genesis 0x" in desk.refused(
        EXIT_FAILED, "install", desk.genesis, "--home", home
    )
    open_home(home, other.genesis).close()
    assert "which this recovery does not carry on" in desk.refused(
        EXIT_USAGE, "install", desk.genesis, "--home", home
    )


def test_nothing_is_overwritten(desk: Desk) -> None:
    desk.prepare()
    words: list[list[str | Path]] = [
        ["prepare", "--home", desk.homes[0], "--out", desk.document],
        ["combine", desk.document, "--out", desk.document],
        ["finish", desk.document, "--out", desk.document],
    ]
    for each in words:
        assert "exists already and is not overwritten" in desk.refused(EXIT_USAGE, *each)


def test_a_running_node_s_home_is_left_alone(desk: Desk) -> None:
    desk.prepare()
    with HomeLock(desk.homes[0]):
        assert "stop it first" in desk.refused(EXIT_USAGE, *desk.sign_words(0))
        out = desk.folder / "other.json"
        assert "stop it first" in desk.refused(EXIT_USAGE, "prepare", "--home", desk.homes[0], "--out", out)


def test_a_ledger_without_certified_block_has_nothing_to_carry_on(desk: Desk) -> None:
    home = make_home(desk.folder / "young", desk.chain.genesis)
    fill(home, desk.chain, 1, 0)
    out = desk.folder / "young.json"
    assert "has no certified block above its genesis" in desk.refused(
        EXIT_NODE, "prepare", "--home", home, "--out", out
    )
