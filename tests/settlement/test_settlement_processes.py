"""Real node processes settle on a real chain, and every payout is paid once whatever dies, lies down or turns back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from live_network import BALANCE
from settlement_chain import COIN, hexed
from settlement_network import THRESHOLD, VALIDATORS, Json, eventually, keystore, settlement_network

from potchain import checksum_address

pytestmark = pytest.mark.processes

TURN_MS = 1_500
"""Of relayers that wait for one that died."""
DEPTH = 12
"""Blocks that a reorganisation takes back."""


def test_a_deposit_is_credited_and_a_withdrawal_ends_as_coins_of_the_payee(tmp_path: Path) -> None:
    with settlement_network(tmp_path / "net", confirmations=2) as network:
        key = network.live.keys[3]
        network.deposit(key.address, 777)
        network.chain.mine()
        assert network.status(0)["next_event"] == 1, "one block above the deposit is not enough"
        network.chain.mine()
        network.wait(lambda status: status["next_event"] == 2, "the deposit is credited")
        assert {network.balance(key.address, node) for node in range(VALIDATORS)} == {BALANCE + 777}

        network.withdraw(3, 1_000)
        eventually(lambda: network.credited(key.address), "credited on the chain")
        network.chain.mine(2)
        network.settled(actions=1, events=3)
        assert network.credited(key.address) == 1_000
        assert network.balance(key.address) == BALANCE + 777 - 1_000 - 10

        network.chain.rpc("anvil_setBalance", hexed(key.address), hex(COIN))
        at = ["--network", network.chain.url, "--contract", checksum_address(network.contract.address)]
        drawn = network.run("contract", "withdraw", *at, *keystore(tmp_path, key))
        receipt = network.chain.rpc("eth_getTransactionReceipt", drawn["transaction"])
        gas = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
        assert int(network.chain.rpc("eth_getBalance", hexed(key.address), "latest"), 16) == COIN + 1_000 - gas
        audit = network.run(
            "contract", "audit", "--node", network.live.urls[2], "--network", network.chain.url, "--settled"
        )
        assert (audit["equal"], audit["paid"], audit["paid_payouts"]) == (True, "1000", 1)
        network.audited(paid=1)
        assert network.live.stop() == [0] * VALIDATORS
        network.is_quiet()


@pytest.mark.parametrize("reaches", [False, True], ids=["before it sent", "after it sent"])
def test_a_relayer_that_is_killed_is_stood_in_for(tmp_path: Path, reaches: bool) -> None:
    with settlement_network(tmp_path / "net", relay_turn_ms=TURN_MS) as network:
        first = network.turn_of(0)
        gate = network.gates[first]
        gate.swallows_before, gate.swallows_after = not reaches, reaches
        network.chain.rpc("evm_setAutomine", False)
        network.withdraw(0, 1_000)
        assert gate.swallowed.wait(60), "the first relayer sends"
        network.live.kill(first)
        gate.swallows_before = gate.swallows_after = False
        if reaches:  # it is forgotten by the chain's pools too
            (lost,) = eventually(network.pooled, "the transaction waits")
            assert network.node_of(lost["from"]) == first
            network.chain.rpc("anvil_dropTransaction", lost["hash"])
        taken = eventually(network.pooled, "another relayer sends")
        assert network.node_of(taken[0]["from"]) != first
        network.chain.mine()
        network.chain.rpc("evm_setAutomine", True)
        network.settled(actions=1, events=2)
        network.live.start(first)
        network.settled(actions=1, events=2)
        (execution,) = network.executions()
        assert network.sender_of(execution["transactionHash"]) != first
        with network.alone(first):  # its account nonce is free
            network.withdraw(1, 1_000)
            eventually(lambda: network.executions()[1:], "it relays again")
        network.settled(actions=2, events=3)
        network.audited(paid=2)
        network.is_quiet()


def test_a_relayer_killed_while_its_transaction_waits_has_paid_all_the_same(tmp_path: Path) -> None:
    with settlement_network(tmp_path / "net", relay_turn_ms=60_000) as network:
        first = network.turn_of(0)
        network.chain.rpc("evm_setAutomine", False)
        network.withdraw(0, 1_000)
        eventually(network.pooled, "the transaction waits")
        network.live.kill(first)
        network.chain.mine()
        network.chain.rpc("evm_setAutomine", True)
        network.settled(actions=1, events=2)
        network.live.start(first)
        network.settled(actions=1, events=2)
        (execution,) = network.executions()
        assert network.sender_of(execution["transactionHash"]) == first
        network.audited(paid=1)
        network.is_quiet()


def test_all_four_are_killed_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    with settlement_network(tmp_path / "net", relay_turn_ms=TURN_MS) as network:
        network.chain.rpc("evm_setAutomine", False)
        for sender in range(6):
            network.withdraw(sender, 1_000 + sender, node=sender % VALIDATORS)
        eventually(network.pooled, "a transaction waits")
        network.live.kill(*range(VALIDATORS))
        network.chain.mine()  # executed while nobody looked
        network.chain.rpc("evm_setAutomine", True)
        network.live.start()
        network.wait(lambda status: status["payouts"]["paid"]["count"] == 6, "everything is paid")
        for sender in range(6):
            assert network.credited(network.live.keys[sender].address) == 1_000 + sender
        network.wait(lambda status: status["settler"]["state"] == "idle", "nothing is left to do")
        network.audited(paid=6)
        network.is_quiet()


def test_relayers_that_race_pay_once_and_forget_what_was_refused(tmp_path: Path) -> None:
    with settlement_network(tmp_path / "net", relay_turn_ms=1_000, confirmations=1) as network:
        network.chain.rpc("evm_setAutomine", False)
        network.withdraw(0, 1_000)
        racing = eventually(lambda: (found := network.pooled())[1:] and found, "two relayers send")
        network.chain.mine()
        receipts = [network.chain.rpc("eth_getTransactionReceipt", each["hash"]) for each in racing]
        assert sorted(receipt["status"] for receipt in receipts) == ["0x0"] * (len(racing) - 1) + ["0x1"]
        (execution,) = network.executions()
        winner = network.sender_of(execution["transactionHash"])
        losers = sorted({network.node_of(each["from"]) for each in racing} - {winner})
        for index, phase in [(winner, "mined"), *((loser, "executed") for loser in losers)]:
            network.wait(lambda status, phase=phase: _relay(status)["phase"] == phase, phase, [index])  # type: ignore[misc]
            assert _relay(network.status(index))["attempts"] == 1
        network.chain.mine()
        network.settled(actions=1, events=2)
        assert network.credited(network.live.keys[0].address) == 1_000
        for index in (winner, *losers):
            log = network.live.network.nodes[index].log
            eventually(lambda log=log: "no longer follows" in log.read_text(), "forgotten")  # type: ignore[misc]
        network.chain.rpc("evm_setIntervalMining", 1)
        network.withdraw(1, 1_000)
        network.settled(actions=2, events=3)
        network.audited(paid=2)
        network.is_quiet()


def test_a_deposit_that_a_reorganisation_takes_back_before_it_counts_is_never_credited(tmp_path: Path) -> None:
    with settlement_network(tmp_path / "net", confirmations=15, treasure=0) as network:
        gone, stays = network.live.keys[5].address, network.live.keys[6].address
        network.deposit(gone, 555)
        network.chain.mine(DEPTH - 1)
        network.wait(lambda status: status["settler"]["events_seen"] == 1, "the deposit is seen")
        network.chain.rpc("anvil_reorg", DEPTH, [])
        network.wait(lambda status: status["settler"]["reorgs"] == 1, "the reorganisation is seen")
        network.deposit(stays, 666)
        network.chain.mine(15)
        network.settled(actions=0, events=1)
        assert (network.balance(gone), network.balance(stays)) == (BALANCE, BALANCE + 666)
        network.audited(paid=0)
        assert network.status(0)["credited"] == "666"
        network.is_quiet()


def test_a_reorganisation_beyond_the_confirmations_is_told_and_what_comes_back_counts_once(tmp_path: Path) -> None:
    with settlement_network(tmp_path / "net", confirmations=1) as network:
        before = network.chain.height()
        paid = network.live.keys[0].address
        network.withdraw(0, 1_000)
        eventually(lambda: network.credited(paid), "credited on the chain")
        network.chain.mine()
        network.settled(actions=1, events=2)
        network.chain.mine(before + DEPTH - 1 - network.chain.height())
        (execution,) = network.executions()
        network.chain.rpc("evm_setAutomine", False)
        network.chain.rpc("anvil_reorg", network.chain.height() - before, [])
        assert network.credited(paid) == 0

        network.wait(_is_told("reorg_beyond_confirmations"), "the fault is told")
        assert "fault: reorg_beyond_confirmations" in network.told(3)
        network.withdraw(1, 2_000)  # decided and signed, and not sent while the chain contradicts the ledger
        network.wait(lambda status: [each["status"] for each in status["actions"]] == ["signed"], "the next is signed")
        (again,) = eventually(network.pooled, "what is lost is sent once more")
        assert again["hash"] == execution["transactionHash"]
        network.chain.mine(2)
        assert network.credited(paid) == 1_000
        network.chain.rpc("evm_setAutomine", True)
        eventually(lambda: network.credited(network.live.keys[1].address), "the next batch is sent")
        network.chain.mine()
        network.settled(actions=2, events=3)
        assert network.credited(paid) == 1_000
        assert len(network.executions()) == 2
        network.audited(paid=2)
        network.is_quiet()


def test_a_chain_that_does_not_answer_stops_settlement_and_nothing_else(tmp_path: Path) -> None:
    with settlement_network(tmp_path / "net", poll_ms=250) as network:
        os.kill(network.chain.devnet.pid, signal.SIGSTOP)
        try:
            for sender in range(3):
                network.withdraw(sender, 1_000)
            network.wait(_is_told("unreachable"), "the fault is told")
            assert "fault: unreachable" in network.told(1)
            for round_ in range(4):
                network.live.pay(round_, 100, sender=5 + round_)
            network.wait(lambda status: status["actions"] and status["actions"][0]["status"] == "signed", "signed")
        finally:
            os.kill(network.chain.devnet.pid, signal.SIGCONT)
        network.wait(lambda status: status["payouts"]["paid"]["count"] == 3, "everything is paid")
        network.wait(lambda status: status["settler"]["fault"] is None, "the fault is gone")
        network.audited(paid=3)
        network.is_quiet()


def test_owners_change_between_the_signatures_and_the_payment(tmp_path: Path) -> None:
    with settlement_network(tmp_path / "net", owners=(0, 1, 2), relay_turn_ms=TURN_MS) as network:
        for index in range(VALIDATORS):
            network.fill(index, 0)
        network.withdraw(0, 1_000)
        network.wait(lambda status: [each["status"] for each in status["actions"]] == ["signed"], "the first is signed")
        network.decide("rotate-owners", *network.owner_words((1, 2, 3), THRESHOLD))
        network.wait(
            lambda status: (
                [(each["kind"], each["status"]) for each in status["actions"]]
                == [("batch", "signed"), ("rotate", "signed")]
            ),
            "the rotation is signed by those before",
        )
        network.withdraw(1, 2_000)
        assert network.executions() == []
        for index in range(VALIDATORS):
            network.fill(index)
        network.settled(actions=3, events=4)
        assert [network.credited(network.live.keys[sender].address) for sender in (0, 1)] == [1_000, 2_000]
        status = network.status(0)
        (owners,) = status["owners"]
        assert owners["epoch"] == 1
        assert {owner["name"] for owner in owners["owners"]} == {"node1", "node2", "node3"}
        signed = network.live.get(0, "/v1/settlement/actions/2")
        assert (signed["epoch"], signed["status"]) == (1, "executed")
        network.audited(paid=2)
        network.is_quiet()


def test_an_empty_relay_wallet_is_named_and_another_relayer_pays(tmp_path: Path) -> None:
    with settlement_network(tmp_path / "net", relay_turn_ms=TURN_MS) as network:
        poor = network.turn_of(0)
        network.fill(poor, 0)
        with network.alone(poor):
            network.withdraw(0, 1_000)
            told = eventually(lambda: text if "empty_wallet" in (text := network.told(poor)) else "", "it is named")
        account = network.operators[poor].address.hex()
        assert f"relay account 0x{account} holds 0 wei" in told
        network.settled(actions=1, events=2)
        (execution,) = network.executions()
        assert network.sender_of(execution["transactionHash"]) != poor
        network.fill(poor)
        with network.alone(poor):
            network.withdraw(1, 1_000)
            eventually(lambda: network.executions()[1:], "it relays again")
        network.settled(actions=2, events=3)
        network.audited(paid=2)
        network.is_quiet()


def _relay(status: Json) -> Json:
    """What a node does about the only action."""
    (action,) = status["actions"]
    relay: Json = action["relay"]
    return relay


def _is_told(code: str) -> Callable[[Json], bool]:
    """Whether a status names that fault."""
    return lambda status: (status["settler"]["fault"] or {}).get("code") == code
