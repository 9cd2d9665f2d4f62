"""What a restarted validator asks before it votes: a lost vote log, an old copy, a copy beside its original."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_network import LiveNetwork, live_network

from potchain.cli.node_processes import NodeProcess, free_base_port
from potchain.cli.testnet_folder import TRANSPORT_PORT_OFFSET, Endpoint
from potchain.codec import decode
from potchain.consensus.interface import ConsensusMessage
from potchain.genesis import Parameters

WINDOW = 8


@pytest.fixture
def small(tmp_path: Path) -> Iterator[LiveNetwork]:
    """Four validators with a log window of a few blocks, running."""
    parameters = Parameters(checkpoint_interval=4, log_window=WINDOW)
    with live_network(tmp_path / "net", parameters=parameters) as network:
        network.start()
        yield network


def signed(home: Path) -> list[ConsensusMessage]:
    """What a stopped node's vote log says that it signed above its stable checkpoint."""
    with sqlite3.connect(home / "votes.sqlite") as database:
        return [decode(ConsensusMessage, row[0]) for row in database.execute("SELECT data FROM vote_messages")]


def blocks(live: LiveNetwork, count: int, sender: int = 0) -> None:
    for _ in range(count):
        live.pay(0, 1, sender=sender)


def height_of(live: LiveNetwork) -> int:
    return int(live.get(0, "/v1/status")["certified_height"])


def test_a_node_that_lost_its_vote_log_learns_across_restarts_and_then_votes_again(small: LiveNetwork) -> None:
    blocks(small, 3)
    small.wait_final(3, height_of(small))
    small.kill(3)
    for path in small.home(3).glob("votes.sqlite*"):
        path.unlink()
    log = small.network.nodes[3].log
    for start in (1, 2):  # a supervisor's second start must not take the protection away
        small.start(3)
        blocks(small, 1)
        small.wait_final(3, height_of(small))
        deadline = time.monotonic() + 30
        while log.read_text().count("learner until a stable checkpoint") < start:
            # It may have the block before it has the answers of its peers. No more blocks: they would end its learning.
            assert time.monotonic() < deadline
            small.get(3, "/v1/consensus")
        small.kill(3)
        assert {message.kind for message in signed(small.home(3))} <= {"block-vote"}
    small.start(3)
    while "this node's standing: voting" not in log.read_text().split("learner until")[-1]:
        blocks(small, 4)
        assert height_of(small) < 60
    # It takes part again: with another backup gone, a quorum needs it.
    small.kill(2)
    blocks(small, 2)


def test_an_old_copy_of_a_node_finds_out_that_it_is_old_and_does_not_vote(small: LiveNetwork, tmp_path: Path) -> None:
    blocks(small, 3)
    small.wait_final(3, height_of(small))
    small.kill(3)
    shutil.copytree(small.home(3), tmp_path / "old")
    small.start(3)
    blocks(small, 3)
    small.wait_final(3, height_of(small))
    small.kill(3)
    shutil.rmtree(small.home(3))
    shutil.copytree(tmp_path / "old", small.home(3))
    small.start(3)
    blocks(small, 1)
    small.wait_final(3, height_of(small))
    deadline = time.monotonic() + 30
    while "learner until a stable checkpoint" not in small.network.nodes[3].log.read_text():
        assert time.monotonic() < deadline
        small.get(3, "/v1/consensus")


def test_an_old_copy_beside_its_running_original_signs_nothing_and_both_stop(
    small: LiveNetwork, tmp_path: Path
) -> None:
    blocks(small, 5)
    small.wait_final(3, height_of(small))
    copy = second_folder(small, tmp_path)
    blocks(small, 6)
    before = signed(copy.home)
    process = NodeProcess(copy)
    original = small.processes[3]
    assert original is not None
    try:
        deadline = time.monotonic() + 60
        while process.process.poll() is None or original.process.poll() is None:
            assert time.monotonic() < deadline, "the two copies still run"
            blocks(small, 1)  # meanwhile the network goes on
        assert process.process.wait() == original.process.wait() == 1
    finally:
        process.process.kill()
        process.process.wait()
    for node in (copy, small.network.nodes[3]):
        assert "another copy of this validator runs" in node.log.read_text()
    assert [message for message in signed(copy.home) if message not in before] == []
    assert small.get(0, "/v1/evidence")["evidence"] == []


def second_folder(live: LiveNetwork, tmp_path: Path) -> Endpoint:
    """A copy of node 3's folder, made while it runs, that listens elsewhere."""
    home, first = tmp_path / "copy", live.home(3)
    home.mkdir()
    for path in first.iterdir():
        if ".sqlite" not in path.name and path.is_file() and path.suffix not in (".log", ".lock"):
            shutil.copy2(path, home)
    for name in ("votes.sqlite", "ledger.sqlite"):  # votes first: a ledger may lag behind them, never the reverse
        with sqlite3.connect(first / name) as source, sqlite3.connect(home / name) as target:
            source.backup(target)
    port = int(live.network.nodes[3].url.rpartition(":")[2])
    free = free_base_port(31_000, 1)
    config = home / "potchain.toml"
    text = config.read_text()
    for before, after in ((port, free), (port + TRANSPORT_PORT_OFFSET, free + TRANSPORT_PORT_OFFSET)):
        assert str(before) in text
        text = text.replace(str(before), str(after))
    config.write_text(text)
    return Endpoint(name="copy of node3", home=home, url=f"http://127.0.0.1:{free}", token="")
