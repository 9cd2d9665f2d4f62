"""Four real nodes of which two forget what they signed: the network stops by design, and its operators carry it on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_network import BALANCE, LiveNetwork, address, live_network

from potchain import cli
from potchain.cli.program import EXIT_FAILED, EXIT_OK
from potchain.client import NodeClient
from potchain.genesis import Parameters
from potchain.transactions import TransactionTypes, Transfer


@pytest.fixture
def small(tmp_path: Path) -> Iterator[LiveNetwork]:
    """Four validators with a short patience, running."""
    parameters = Parameters(checkpoint_interval=4, log_window=8, view_timeout_ms=500, view_timeout_cap_ms=1_000)
    with live_network(tmp_path / "net", parameters=parameters) as network:
        network.start()
        yield network


def recover(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = EXIT_OK) -> str:
    """Output of `potchain recover ...`, or the message with which it refuses."""
    found = cli.main(["recover", *map(str, words)])
    captured = capsys.readouterr()
    assert found == code, captured.err
    return captured.err if code else captured.out


def signing(live: LiveNetwork, node: int) -> list[str | Path]:
    operators = live.network.folder / "operators"
    keystore = operators / f"node{node}.json"
    return ["--home", live.home(node), "--operator", keystore, "--password-file", operators / "password.txt"]


def wait_member(live: LiveNetwork, node: int, name: str, wanted: str) -> dict[str, Any]:
    """A node's answer at /v1/consensus once a member of it begins like that."""

    async def run() -> dict[str, Any]:
        async with NodeClient(live.urls[node]) as client, asyncio.timeout(20):
            while not str((picture := await client.get("/v1/consensus"))[name] or "").startswith(wanted):
                await asyncio.sleep(0.1)
            return picture

    return asyncio.run(run())


def test_a_network_that_forgot_too_much_is_carried_on_by_its_operators(
    small: LiveNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small.network.folder
    for _ in range(3):
        small.pay(0, 1)
    lower = int(small.get(0, "/v1/status")["certified_height"])
    small.wait_final(3, lower)
    small.kill(3)  # it stays behind
    for _ in range(2):
        small.pay(0, 1)
    height = int(small.get(0, "/v1/status")["certified_height"])
    for node in (1, 2):
        small.wait_final(node, height)
    assert small.stop() == [0, 0, 0]

    # A recovery from the node that is behind would take back what is final: nobody who knows better signs it.
    recover(capsys, "prepare", "--home", small.home(3), "--out", folder / "low.json")
    fault = recover(capsys, "sign", folder / "low.json", *signing(small, 0), code=EXIT_FAILED)
    assert f"above the recovery's: height {height}" in fault
    assert f"ends at height {lower}" in fault

    # Two of four lose their vote logs: two may vote, three would have to.
    for node in (1, 2):
        for path in small.home(node).glob("votes.sqlite*"):
            path.unlink()
    small.start()
    for node in (1, 2):
        wait_member(small, node, "standing", "learner")
    void = small.transfer(1)
    asyncio.run(submit(small, void))
    wait_member(small, 0, "stalled", "no progress")
    assert small.get(0, "/v1/status")["certified_height"] == height
    assert small.stop() == [0, 0, 0, 0]

    document, genesis_file = folder / "recovery.json", folder / "recovered.json"
    recover(capsys, "prepare", "--home", small.home(0), "--out", document)
    for node in (0, 1, 3):
        recover(capsys, "sign", document, *signing(small, node))
    recover(capsys, "finish", document, "--out", genesis_file)
    for node in range(4):
        recover(capsys, "install", genesis_file, "--home", small.home(node))
    (folder / "genesis.json").write_bytes(genesis_file.read_bytes())
    carried_on(small, void, height)

    proof = json.dumps(small.get(0, f"/v1/transactions/{small.pay(2, 1)[0]}/proof"))
    assert set(small.stop()) == {0}
    (folder / "proof.json").write_text(proof)
    for words in (
        ["verify", str(folder / "proof.json"), "--genesis", str(genesis_file)],
        ["ledger", "verify", "--home", str(small.home(2))],
    ):
        assert cli.main(words) == EXIT_OK, capsys.readouterr().err


async def submit(live: LiveNetwork, document: dict[str, Any]) -> None:
    async with NodeClient(live.urls[0]) as client:
        assert [outcome.status for outcome in await client.submit([document])] == ["accepted"]


def carried_on(live: LiveNetwork, void: dict[str, Any], height: int) -> None:
    """The four go on above that height with all balances and nonces; what was signed for the old network is void."""
    genesis = live.network.genesis()
    assert (genesis.height, genesis.first_epoch.number) == (height, 1)
    live.types = TransactionTypes([Transfer], genesis.hash)
    live.start()
    assert live.refusal(0, void).code == "bad_signature"
    live.nonces[live.keys[1].address] -= 1
    before = live.get(1, f"/v1/accounts/{address(live.keys[0])}")
    assert before["nonce"] == live.nonces[live.keys[0].address] == 5
    assert int(before["balance"]) == BALANCE - 5 * 11
    for sender in (0, 1):
        live.pay(sender, 1, sender=sender)
    live.wait_final(3, height + 2)
    picture = live.get(3, "/v1/consensus")
    assert (picture["epoch"], picture["standing"]) == (1, "voting")
    block = live.block(3, height + 1)
    assert block["parent_hash"] == live.block(0, height)["hash"]
    after = live.get(3, f"/v1/accounts/{address(live.keys[0])}")
    assert (after["nonce"], int(after["balance"])) == (6, BALANCE - 6 * 11)
