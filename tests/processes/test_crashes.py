"""kill -9, restart, catch-up; what was answered final is never lost."""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import subprocess
import sys

import pytest
from click.testing import CliRunner
from live_network import BALANCE, LiveNetwork, address

from potchain.cli.program import potchain
from potchain.client import NodeClient
from potchain.errors import ClientError


def test_a_killed_backup_does_not_delay_the_others_and_catches_up_when_it_returns(live: LiveNetwork) -> None:
    live.pay(0, 20)
    live.kill(3)
    ids = [transaction_id for round_ in range(5) for transaction_id in live.pay(round_ % 3, 10, sender=round_)]
    live.start(3)
    height = live.get(0, "/v1/status")["certified_height"]
    returned = live.wait_final(3, height)
    assert returned["height"] >= height
    ours, theirs = live.block(0, height), live.block(3, height)
    assert ours["state_root"] == theirs["state_root"]
    for transaction_id in ids:
        assert live.get(3, f"/v1/transactions/{transaction_id}")["state"] == "executed"
    # It takes part again: with another backup gone, a quorum needs it.
    live.kill(2)
    live.pay(3, 5, sender=9)


def test_everything_final_is_there_after_all_four_were_killed(live: LiveNetwork) -> None:
    ids = [transaction_id for node in range(4) for transaction_id in live.pay(node, 25, sender=node)]
    before = live.get(0, "/v1/status")
    live.kill(0, 1, 2, 3)
    live.start()
    for node in range(4):
        status = live.wait_final(node, before["certified_height"])
        assert status["height"] >= before["certified_height"]
        for transaction_id in ids:
            found = live.get(node, f"/v1/transactions/{transaction_id}")
            assert (found["state"], found["certified"]) == ("executed", True)
    live.pay(1, 5, sender=7)
    assert len({live.block(node, before["certified_height"])["state_root"] for node in range(4)}) == 1


def test_what_a_client_was_told_is_durable_survives_a_kill_in_the_middle_of_load(live: LiveNetwork) -> None:
    documents = [live.transfer(sender) for _ in range(40) for sender in range(10)]

    async def submit() -> list[str]:
        async with NodeClient(live.urls[1]) as client:
            outcomes = await client.submit(documents)
            assert {outcome.status for outcome in outcomes} == {"accepted"}
            return [str(outcome.id) for outcome in outcomes]

    ids = asyncio.run(submit())
    live.kill(0, 1, 2, 3)  # accepted by node 1 only moments ago
    live.start()

    async def all_final() -> None:
        async with NodeClient(live.urls[1]) as client:
            for transaction_id in ids:
                answer = await client.wait_transaction(transaction_id, timeout_s=60)
                assert answer["state"] == "executed", answer

    asyncio.run(all_final())
    spent = {key.address: 40 * 11 for key in live.keys[:10]}
    for index, key in enumerate(live.keys):
        account = live.get(2, f"/v1/accounts/{address(key)}")
        earned = 40 if 1 <= index <= 10 else 0
        assert int(account["balance"]) == BALANCE - spent.get(key.address, 0) + earned


def test_two_dead_nodes_stop_the_network_and_status_says_so(live: LiveNetwork) -> None:
    live.pay(1, 3)
    live.kill(0, 3)
    problem = live.refusal(1, live.transfer(), wait="final", timeout_s=6)
    assert (problem.status, problem.code) == (504, "timeout")
    status = live.get(1, "/v1/status")
    assert "view-change from node0, node3" in status["stalled"]
    assert "view-change from node0, node3" in live.get(1, "/v1/consensus")["waiting_for"]
    live.start(0)  # and it goes on, the transaction included
    height = status["height"] + 1
    assert live.wait_final(1, height)["stalled"] is None


def test_sigterm_stops_every_node_cleanly(live: LiveNetwork) -> None:
    live.pay(2, 10)
    assert live.stop() == [0, 0, 0, 0]
    for node in range(4):
        assert "Traceback" not in live.network.nodes[node].log.read_text()


def test_a_second_process_on_a_home_folder_is_refused(live: LiveNetwork) -> None:
    command = [sys.executable, "-m", "potchain", "start", "--home", str(live.home(0))]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2
    assert "another process" in second.stderr
    assert "Traceback" not in second.stderr
    live.pay(0, 1)


def test_verify_passes_everywhere_and_names_the_height_of_one_changed_byte(live: LiveNetwork) -> None:
    for _ in range(3):
        live.pay(0, 4)
    live.stop()
    for node in range(4):
        sound = CliRunner().invoke(potchain, ["ledger", "verify", "--home", str(live.home(node)), "--json"])
        assert sound.exit_code == 0, sound.output
    path = live.home(2) / "ledger.sqlite"
    with sqlite3.connect(path) as database:
        (blob,) = database.execute("SELECT bodies FROM blocks WHERE height = 2").fetchone()
        changed = bytearray(blob)
        changed[len(changed) // 2] ^= 1
        database.execute("UPDATE blocks SET bodies = ? WHERE height = 2", (bytes(changed),))
    verified = run_potchain("ledger", "verify", "--home", str(live.home(2)))
    assert verified.returncode != 0
    assert "height 2" in verified.stderr
    started = run_potchain("start", "--home", str(live.home(2)))
    assert started.returncode != 0
    assert "height 2" in started.stderr
    assert "Traceback" not in started.stderr


def test_a_full_disk_stops_a_node_and_loses_nothing(live: LiveNetwork) -> None:
    ids = live.pay(0, 10)
    live.kill(3)
    size = max(path.stat().st_size for path in live.home(3).iterdir() if "sqlite" in path.name)
    limit = size + 150_000

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "potchain", "start", "--home", str(live.home(3))]
    with (live.home(3) / "small.log").open("wb") as log:
        node = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=small_disk)
    try:
        for _ in range(200):
            if node.poll() is not None:
                break
            ids += live.pay(1, 100, sender=5)
        assert node.wait(20) == 1
    finally:
        node.kill()
        node.wait()
    last = json.loads((live.home(3) / "small.log").read_text().splitlines()[-1])
    assert last["event"] == "node stops"
    assert "sqlite" in last["reason"]
    live.start(3)
    live.wait_final(3, live.get(0, "/v1/status")["certified_height"])
    for transaction_id in ids[-100:]:
        assert live.get(3, f"/v1/transactions/{transaction_id}")["state"] == "executed"


def run_potchain(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "potchain", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_node_that_is_gone_is_a_clear_error(idle: LiveNetwork) -> None:
    with pytest.raises(ClientError, match="no node answers") as caught:
        idle.get(0, "/v1/status")
    assert caught.value.status == 0
