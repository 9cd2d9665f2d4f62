"""The genesis file: every fault at once, a hash that no formatting changes, and what follows from a good one."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec
import pytest
from core_network import key, make_genesis, make_validators

from potchain.codec import decode, encode
from potchain.crypto import checksum_address
from potchain.errors import GenesisError
from potchain.genesis import (
    Epoch,
    Genesis,
    Parameters,
    epoch_digest,
    parameter_faults,
)
from potchain.genesis_file import parse_genesis, render_genesis
from potchain.primitives import UINT256_MAX, uint

GENESIS = make_genesis([("alice", 10**24), ("bob", 5), ("carol", 0)], base_fee=25)


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(render_genesis(GENESIS))
    return loaded


def faults_of(changed: Any) -> tuple[str, ...]:  # noqa: ANN401
    with pytest.raises(GenesisError) as caught:
        parse_genesis(json.dumps(changed).encode(), "genesis.json")
    return caught.value.faults


def test_what_is_rendered_is_parsed_back() -> None:
    assert parse_genesis(render_genesis(GENESIS), "here") == GENESIS
    assert decode(Genesis, encode(GENESIS)) == GENESIS


def test_the_hash_does_not_depend_on_the_file_s_formatting() -> None:
    changed = document()
    changed["accounts"].reverse()
    changed = dict(reversed(changed.items()))
    changed["validators"] = [dict(reversed(entry.items())) for entry in changed["validators"]]
    changed["accounts"] = [{**entry, "address": entry["address"].lower()} for entry in changed["accounts"]]
    for text in (json.dumps(changed), json.dumps(changed, indent=7), "\n\t " + json.dumps(changed) + "  "):
        assert parse_genesis(text.encode(), "here").hash == GENESIS.hash


def test_the_hash_depends_on_every_value() -> None:
    seen = {GENESIS.hash}
    for path, value in [
        (("chain_id",), "paper-2"),
        (("timestamp_ms",), 5),
        (("validators", 0, "name"), "another"),
        (("validators", 0, "node_key"), "0x" + "11" * 32),
        (("validators", 0, "operator"), "0x" + "22" * 20),
        (("validators", 0, "consensus_key"), "0x" + key("another").public_key.hex()),
        (("accounts", 0, "balance"), "77"),
        (("accounts", 0, "address"), "0x" + "33" * 20),
        (("parameters", "base_fee"), 26),
    ]:
        changed = document()
        place: Any = changed
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        seen.add(parse_genesis(json.dumps(changed).encode(), "here").hash)
    changed = document()
    changed["validators"].reverse()
    seen.add(parse_genesis(json.dumps(changed).encode(), "here").hash)
    assert len(seen) == 11, "the order of validators counts too: it names the primaries"


def test_parameters_have_defaults() -> None:
    changed = document()
    del changed["parameters"]
    assert parse_genesis(json.dumps(changed).encode(), "here").parameters == Parameters()
    assert parameter_faults(Parameters()) == []


def test_every_fault_is_named_at_once() -> None:
    changed = document()
    changed["chain_id"] = ""
    changed["timestamp_ms"] = "now"
    changed["colour"] = "red"
    changed["validators"][0]["node_key"] = "0x12"
    changed["validators"][1]["operator"] = "nobody"
    changed["validators"][2]["consensus_key"] = "0x02" + "ff" * 32
    changed["validators"][3]["name"] = changed["validators"][0]["name"]
    changed["accounts"][0]["balance"] = -1
    changed["accounts"][1]["adress"] = changed["accounts"][1].pop("address")
    changed["parameters"] = {"log_window": 10, "batch_max": "many"}
    faults = faults_of(changed)
    for part in (
        "chain_id must have 1 to 64 characters",
        "timestamp_ms must be Unix milliseconds, not 'now'",
        "colour is not a known key",
        "validators[0].node_key must be 0x and 64 hex digits, not '0x12'",
        "validators[1].operator must be an Ethereum address",
        "validators[2].consensus_key: not a secp256k1 public key",
        "validators[3].name repeats an earlier entry's",
        "accounts[0].balance must be a decimal string of base units, not -1",
        "accounts[1].adress is not a known key; did you mean 'address'?",
        "accounts[1].address must be an Ethereum address",
        "parameters.log_window 10 must be at least twice checkpoint_interval 64",
        "parameters.batch_max must be a whole number from 0, not 'many'",
    ):
        assert any(part in fault for fault in faults), part
    assert len(faults) == 12


def test_the_message_lists_the_faults_and_the_file() -> None:
    with pytest.raises(
        GenesisError, match=r"(?s)genesis g\.json has \d+ fault\(s\):\n  - .*\n  - validators must be a list"
    ):
        parse_genesis(b"{}", "g.json")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"nul", b'{"a": 1} x'])
def test_no_json(text: bytes) -> None:
    with pytest.raises(GenesisError, match="not JSON"):
        parse_genesis(text, "here")


def test_deep_nesting_is_no_json_either() -> None:
    limit = sys.getrecursionlimit()
    # py_ecc, which eth-account imports, lifts the limit so far that msgspec would run off the C stack.
    sys.setrecursionlimit(1_000)
    try:
        with pytest.raises(GenesisError, match="not JSON"):
            parse_genesis(b"[" * 100_000, "here")
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_no_object(value: Any) -> None:  # noqa: ANN401
    assert faults_of(value) == ("the file must hold one JSON object",)


@pytest.mark.parametrize(
    ("member", "value", "fault"),
    [
        ("chain_id", "x" * 65, "chain_id must have 1 to 64"),
        ("chain_id", None, "chain_id must be a string"),
        ("timestamp_ms", -1, "timestamp_ms must be"),
        ("timestamp_ms", True, "timestamp_ms must be"),
        ("timestamp_ms", 2**53, "timestamp_ms must be"),
        ("timestamp_ms", 1.5, "timestamp_ms must be"),
        ("validators", [], "validators must name at least one"),
        ("validators", {}, "validators must be a list"),
        ("validators", [5], "validators[0] must be an object, not 5"),
        ("validators", [{}] * 1001, "validators has 1001 entries, at most 1000"),
        ("accounts", None, "accounts must be a list"),
        ("accounts", ["x"], "accounts[0] must be an object, not 'x'"),
        ("parameters", [], "parameters must be an object"),
        ("parameters", {"base_fee": -1}, "parameters.base_fee must be a whole number"),
        ("parameters", {"base_fee": True}, "parameters.base_fee must be a whole number"),
        ("parameters", {"base_fees": 1}, "did you mean 'base_fee'?"),
        ("parameters", {"batch_max": 0}, "parameters.batch_max must be at least 1"),
        ("parameters", {"batch_max": 10_001}, "parameters.batch_max 10001 exceeds 10000"),
        ("parameters", {"in_flight_max": 129}, "parameters.in_flight_max 129 exceeds log_window"),
        ("parameters", {"view_timeout_cap_ms": 1}, "parameters.view_timeout_cap_ms 1 is below view_timeout_ms"),
    ],
)
def test_a_bad_member_is_named(member: str, value: Any, fault: str) -> None:  # noqa: ANN401
    assert any(fault in found for found in faults_of(document() | {member: value}))


@pytest.mark.parametrize("field", ["name", "node_key", "consensus_key", "operator"])
def test_validators_share_no_name_and_no_key(field: str) -> None:
    changed = document()
    changed["validators"][2][field] = changed["validators"][0][field]
    assert faults_of(changed) == (f"validators[2].{field} repeats an earlier entry's",)


@pytest.mark.parametrize("balance", [5, "", "-1", "1.0", "0x5", " 5", "٣", None, "9" * 79, str(UINT256_MAX + 1)])
def test_bad_balances(balance: Any) -> None:  # noqa: ANN401
    changed = document()
    changed["accounts"][1]["balance"] = balance
    assert all(fault.startswith("accounts[1].balance ") for fault in faults_of(changed))


def test_an_account_is_named_once_and_all_money_fits() -> None:
    changed = document()
    changed["accounts"][1]["address"] = changed["accounts"][0]["address"].lower()
    assert faults_of(changed) == ("accounts[1].address repeats an earlier entry's",)
    changed = document()
    changed["accounts"][0]["balance"] = changed["accounts"][1]["balance"] = str(UINT256_MAX)
    assert faults_of(changed) == ("the sum of all balances exceeds 2^256 - 1",)


def test_accounts_are_sorted_and_amounts_whole() -> None:
    addresses = [account.address for account in GENESIS.accounts]
    assert addresses == sorted(addresses)
    assert {uint(account.balance) for account in GENESIS.accounts} == {10**24, 5, 0}
    assert checksum_address(key("alice").address) in render_genesis(GENESIS).decode()


class TestEpoch:
    epoch = GENESIS.first_epoch

    def test_the_primary_goes_round_with_view_and_epoch(self) -> None:
        ids = self.epoch.ids
        assert [self.epoch.primary(view) for view in range(5)] == [*ids, ids[0]]
        later = msgspec.structs.replace(self.epoch, number=3)
        assert later.primary(0) == ids[3]

    def test_members_are_found_by_their_consensus_key(self) -> None:
        for member, node in zip(self.epoch.members, self.epoch.ids, strict=True):
            assert node == member.node_id == key("consensus " + member.name).address
            assert self.epoch.keys[node].format() == member.consensus_key
            assert self.epoch.name_of(node) == member.name
        assert self.epoch.name_of(b"\x05" * 20) == "0x" + "05" * 20

    def test_the_digest_covers_members_and_parameters(self) -> None:
        digest = epoch_digest(self.epoch)
        assert digest == epoch_digest(decode(Epoch, encode(self.epoch)))
        for change in (
            {"number": 1},
            {"first_sequence": 2},
            {"members": make_validators(["v0"])},
            {"parameters": Parameters()},
        ):
            assert epoch_digest(msgspec.structs.replace(self.epoch, **change)) != digest
