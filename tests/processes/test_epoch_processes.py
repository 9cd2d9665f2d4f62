"""Real processes over TCP: a fifth validator joins, another leaves, and each set does without one of its members.

The transactions that change the epoch come from the tests' own application, put on the path as a plug-in.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from epoch_application import ChangeEpoch
from live_network import LiveNetwork, live_network

from potchain.client import NodeClient
from potchain.genesis import Genesis, Parameters
from potchain.genesis_file import parse_genesis, render_genesis
from potchain.primitives import uint256
from potchain.transactions import TransactionTypes, Transfer
from potchain.typed_data import struct_to_json

PARAMETERS = Parameters(checkpoint_interval=4, log_window=8, view_timeout_ms=500, view_timeout_cap_ms=2_000)
PLUGIN = """
import msgspec
from epoch_application import EpochApplication
from potchain import Validator, hookimpl

MEMBERS = {members!r}

class Options(msgspec.Struct):
    pass

class Factory:
    name, version, options_type = "epochs", "1", Options

    def create(self, options):
        return EpochApplication([Validator(*member) for member in MEMBERS])

@hookimpl
def applications():
    return (Factory(),)
"""
WAIT_S = 40


def install(folder: Path, genesis: Genesis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the plug-in where the nodes find it."""
    members = [(each.name, each.node_key, each.consensus_key, each.operator) for each in genesis.validators]
    (folder / "epochs_plugin.py").write_text(PLUGIN.format(members=members), encoding="utf-8")
    metadata = folder / "epochs_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: epochs-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[potchain]\nepochs = epochs_plugin\n")
    tests = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), tests, os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveNetwork]:
    """Five nodes, the first four of which are validators; nobody but the fifth knows where the fifth is."""
    with live_network(tmp_path / "net", 5, PARAMETERS) as live:
        everybody = parse_genesis((live.home(0) / "genesis.json").read_bytes(), "genesis")
        install(tmp_path, everybody, monkeypatch)
        genesis = msgspec.structs.replace(everybody, validators=everybody.validators[:4])
        for index in range(5):
            home = live.home(index)
            (home / "genesis.json").write_bytes(render_genesis(genesis))
            text = (home / "potchain.toml").read_text(encoding="utf-8")
            head, *peers = text.split("\n[[peers]]\n")
            kept = [peer for peer in peers if 'name = "node4"' not in peer]
            enabled = '\n[application]\nenabled = ["accounts", "epochs"]\n'
            (home / "potchain.toml").write_text("\n[[peers]]\n".join([head + enabled, *kept]), encoding="utf-8")
        live.types = TransactionTypes([Transfer, ChangeEpoch], genesis.hash)
        yield live


def change(live: LiveNetwork, node: int, members: list[str]) -> None:
    """Submit a change of validators and wait until it is executed."""
    sender = live.keys[0]
    body = ChangeEpoch(sender.address, live.nonces[sender.address], uint256(10), 0, ",".join(members), "")
    live.nonces[sender.address] += 1
    signature = live.types.sign(body, sender).signature
    document = {"kind": "ChangeEpoch", "message": struct_to_json(body), "signature": "0x" + signature.hex()}

    async def run() -> None:
        async with NodeClient(live.urls[node]) as client:
            (outcome,) = await client.submit([document])
            answer = await client.wait_transaction(str(outcome.id), timeout_s=30)
            assert answer["state"] == "executed", answer

    asyncio.run(run())


def wait_epoch(live: LiveNetwork, number: int, *nodes: int) -> dict[str, Any]:
    """Until these nodes are in that epoch; the last one's picture of consensus."""
    deadline = time.monotonic() + WAIT_S
    picture: dict[str, Any] = {}
    for node in nodes:
        while (picture := live.get(node, "/v1/consensus"))["epoch"] < number:
            assert time.monotonic() < deadline, (node, picture)
            live.wait_final(node, live.get(node, "/v1/status")["certified_height"])
    return picture


def test_validators_come_and_go(five: LiveNetwork) -> None:
    five.start()
    five.pay(1, 3, sender=1)
    change(five, 1, [f"node{number}" for number in range(5)])
    wait_epoch(five, 1, 0, 1, 2, 3, 4)
    assert [each["name"] for each in five.get(4, "/v1/validators")["validators"]] == [f"node{n}" for n in range(5)]
    five.kill(2)  # four of five are the quorum, so the newcomer's votes are needed
    five.pay(4, 3, sender=2)
    five.start(2)
    five.pay(2, 1, sender=3)

    change(five, 3, [f"node{number}" for number in range(1, 5)])
    wait_epoch(five, 2, 0, 1, 2, 3, 4)
    five.pay(0, 2, sender=4)  # who has left still takes transactions and follows
    five.kill(3)  # three of four are: again, only with the newcomer
    five.pay(1, 2, sender=5)
    height = five.get(1, "/v1/status")["height"]
    five.start(3)
    hashes = set()
    for node in range(5):
        five.wait_final(node, height)
        hashes.add(five.block(node, height)["hash"])
    assert len(hashes) == 1
    assert five.stop() == [0] * 5
