"""Digests: the contract's own, the ledger's, and the worked example of the protocol's specification are the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from settlement_evm import At, Interface, Machine
from settlement_signing import FUNCTIONS, joined, pool
from settlement_solc import artifact

from potchain.crypto import SigningKey, keccak256, recover_address
from potchain.primitives import uint256
from potchain.settlement.actions import (
    Action,
    ActionKind,
    Contract,
    Entry,
    domain_separator,
    entries_hash,
    multisig_digest,
    owners_hash,
)

ADDRESS = b"\x11" * 20
CHAIN_ID = 97
SENDER = keccak256(b"sender")[12:]

# Scenario A of the protocol's specification, section 5: what four rounds owe to N0..N3 and to the relayer.
ENTRIES = [
    ("1ed98b012d773c9eea5b18113fb4c7ed87af124e", 50_000),
    ("396810f7a70183bc8c507f90f2670dabcd78eca9", 37_500),
    ("8f60f535ecd8f2398288365c021270a5dd8caaa4", 37_500),
    ("9e1f2b7d401e79373e053f63cecaac3b451f9c39", 37_500),
    ("ab6540634613c724b74c112d06797d938237c2c9", 850_007),
]
ENTRIES_HASH = "9b34ad5af894eace303dda5d69234e1677805ddfb951278467a7efe65b00d6d2"
DIGEST = "d7ee6a198ad5f4f9f5ad75e0f3a118cdf89b84627429eaee8752df683abad5db"
OWNERS = {
    "N0": "aafc30682f199b990fb91a2c387090f5066b5a27",
    "N1": "d2ea9fb8976d756e59384a52cfe632f07b2acfbb",
    "N2": "bed7add66c5472f9b860b7bd13711ee5ec6503cb",
}
SIGNATURES = {
    "N0": "c2638328701c3eb71720741fb12e9aaac74dd45e75e03ee77319e1136a5f6e0e"
          "1cce093c50c111ae1a187d077ee538c638e6863060a4d1eb7cc16a1a81ee4ca71c",
    "N1": "a3ec8cfcc9dde31d1b59507de71140a7effad8c3d14d9b9d428a0ef2820652a8"
          "7ab9cf296973ec7bddf9d4cc3c16a2a54d4dff9910722987ebd9b5f96ff181b11b",
    "N2": "e81ff75fd7da795bb738982bd470319c0e55f4ad3ca68781527dc3628798a0c0"
          "5a0689a6d6c693a8963f9aa4bbdaa62f3b055b7120b851d165f91119281505131c",
}  # fmt: skip


def placed(owners: list[bytes], threshold: int, address: bytes = ADDRESS, chain_id: int = CHAIN_ID) -> At:
    """The committed contract, at an address of choice."""
    machine = Machine(chain_id)
    machine.fund(SENDER)
    made = artifact("PotSettlement")
    interface = Interface(made["abi"])
    constructor = interface.constructor(owners, threshold, bytes(20), False)
    machine.place(address, bytes.fromhex(made["bytecode"][2:]) + constructor)
    return At(machine, interface, address)


def bound(address: bytes = ADDRESS, chain_id: int = CHAIN_ID) -> Contract:
    return Contract(scheme="multisig", chain_id=chain_id, address=address, safe=bytes(20), safe_nonce=0, from_block=0)


def key(name: str) -> SigningKey:
    return SigningKey(keccak256(b"key" + name.encode()))


def scenario() -> tuple[At, list[bytes], list[int]]:
    owners = [bytes.fromhex(owner) for owner in OWNERS.values()]
    contract = placed(sorted([*owners, key("N3").address]), 3)
    return contract, [bytes.fromhex(account) for account, _ in ENTRIES], [units for _, units in ENTRIES]


def test_the_worked_example_is_what_contract_and_ledger_compute() -> None:
    contract, accounts, amounts = scenario()
    entries = tuple(Entry(account, uint256(units)) for account, units in zip(accounts, amounts, strict=True))
    action = Action(nonce=0, epoch=0, kind="batch", height=1, entries=entries)
    assert action.total == 1_012_507
    assert entries_hash(entries).hex() == ENTRIES_HASH
    assert multisig_digest(bound(), action).hex() == DIGEST
    assert contract.read("batchDigest(uint256,address[],uint256[])", 0, accounts, amounts).hex() == DIGEST


@pytest.mark.parametrize("name", OWNERS)
def test_the_worked_example_is_signed_by_its_keys(name: str) -> None:
    signature = bytes.fromhex(SIGNATURES[name])
    assert key(name).sign_digest(bytes.fromhex(DIGEST)) == signature
    assert recover_address(bytes.fromhex(DIGEST), signature).hex() == OWNERS[name] == key(name).address.hex()


def test_the_worked_example_executes() -> None:
    contract, accounts, amounts = scenario()
    assert not contract.send(SENDER, "deposit(address)", SENDER, wei=1_012_507).error
    ordered = sorted(OWNERS, key=OWNERS.__getitem__)
    signatures = b"".join(bytes.fromhex(SIGNATURES[name]) for name in ordered)
    done = contract.send(SENDER, FUNCTIONS["batch"], 0, accounts, amounts, signatures)
    assert not done.error
    assert [event.values for event in done.events if event.name == "Credited"] == list(
        zip(accounts, amounts, strict=True)
    )
    assert [contract.read("rewards(address)", account) for account in accounts] == amounts
    assert contract.read("nextNonce()") == 1
    assert contract.read("allocated()") == contract.read("deposited()") == 1_012_507


def drawn(dice: random.Random, kind: ActionKind, nonce: int, epoch: int, funds: int) -> tuple[Action, list[Any]]:
    """A random action that the contract can execute, and the arguments of its function without the signatures."""
    if kind == "batch":
        count = dice.choice((1, 2, 3, 10, 60))
        accounts = [dice.randbytes(20) for _ in range(count)]
        amounts = [dice.choice((1, dice.randrange(1, funds // count))) for _ in accounts]
        entries = tuple(Entry(account, uint256(units)) for account, units in zip(accounts, amounts, strict=True))
        return Action(nonce=nonce, epoch=epoch, kind=kind, height=7, entries=entries), [nonce, accounts, amounts]
    if kind == "root":
        root, total = dice.randbytes(32), dice.randrange(2, funds)
        paid = (Entry(b"\1" * 20, uint256(total - 1)), Entry(b"\2" * 20, uint256(1)))
        return Action(nonce=nonce, epoch=epoch, kind=kind, height=7, entries=paid, root=root), [nonce, root, total]
    if kind == "rotate":
        known = dice.sample(list(pool()), 4)
        owners = sorted(known + [dice.randbytes(20) for _ in range(dice.choice((0, 1, 26, 251)))])
        threshold = dice.choice((1, 2, 4))
        action = Action(nonce=nonce, epoch=epoch, kind=kind, height=7, owners=tuple(owners), threshold=threshold)
        return action, [nonce, owners, threshold]
    paused = dice.random() < 0.5
    return Action(nonce=nonce, epoch=epoch, kind=kind, height=7, paused=paused), [nonce, paused]


def by(owners: Sequence[bytes], count: int) -> list[bytes]:
    """So many of the owners whose keys we have."""
    return [owner for owner in owners if owner in pool()][:count]


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("chain_id", [1, 97, 2**63 - 1])
def test_contract_and_ledger_compute_the_same_digests(kind: ActionKind, chain_id: int) -> None:
    """The contract takes signatures over the ledger's digests, with random content, at any address, in any epoch."""
    dice = random.Random(f"{kind} {chain_id}")
    address = dice.randbytes(20)
    owners = sorted(dice.sample(list(pool()), 4))
    contract, there = placed(owners, 2, address, chain_id), bound(address, chain_id)
    assert contract.read("domainSeparator()") == domain_separator(there)
    assert not contract.send(SENDER, "deposit(address)", SENDER, wei=2**96 - 1).error
    for nonce in range(40):
        turn: ActionKind = "rotate" if nonce % 5 == 4 else kind
        if contract.read("paused()") and turn in ("batch", "root"):
            turn = "pause"
        epoch, needed = contract.read("epoch()"), contract.read("threshold()")
        funds = contract.read("deposited()") - contract.read("allocated()")
        action, arguments = drawn(dice, turn, nonce, epoch, funds // 10)
        digest = multisig_digest(there, action)
        if turn == "batch":
            assert contract.read("batchDigest(uint256,address[],uint256[])", *arguments) == digest
        other = bytes((digest[0] ^ 1,)) + digest[1:]
        signers = by(owners, needed)
        assert contract.send(SENDER, FUNCTIONS[turn], *arguments, joined(other, signers)).error
        done = contract.send(SENDER, FUNCTIONS[turn], *arguments, joined(digest, signers))
        assert not done.error, (action, there, done)
        if turn == "rotate":
            owners = arguments[1]
            assert done.events[0].values == (nonce + 1, nonce, epoch + 1, owners_hash(owners), arguments[2])
