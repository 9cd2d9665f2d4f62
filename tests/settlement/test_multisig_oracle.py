"""web3.py as an independent witness: the same calls, digests, signatures, events and transactions as ours, on anvil.

The plug-in does not use web3 (docs/adr/0014-bare-json-rpc.md); here web3 and eth-account do from the artifact's ABI
alone what the plug-in does with its own code, and both must come to the same bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes
from settlement_chain import (
    CHAIN_ID,
    COIN,
    NOW_MS,
    RELAYER,
    Chain,
    batch,
    followed,
    hexed,
    key_of,
    owner_keys,
    ready,
    running,
)
from web3 import Web3
from web3.contract import Contract as Web3Contract

from potchain import (
    Action,
    BatchSeen,
    Contract,
    DepositSeen,
    Entry,
    PauseSeen,
    Prepared,
    RootSeen,
    RotationSeen,
    SigningKey,
    action_digest,
    decode,
    encode,
    keccak256,
    uint,
    uint256,
)

OWNERS = owner_keys(4)
SIGNERS = OWNERS[:3]
ALICE, BOB = key_of("alice").address, key_of("bob").address
NEW_OWNERS = tuple(sorted(key.address for key in owner_keys(5)[1:]))
ROOT = keccak256(b"root")

UINT, WORD = "uint256", "bytes32"
TYPES: dict[str, dict[str, list[dict[str, str]]]] = {
    name: {name: [{"name": member, "type": kind} for member, kind in members.items()]}
    for name, members in {
        "RewardBatch": {"nonce": UINT, "epoch": UINT, "entriesHash": WORD, "total": UINT},
        "MerkleCommit": {"nonce": UINT, "epoch": UINT, "root": WORD, "total": UINT},
        "RotateOwners": {"nonce": UINT, "epoch": UINT, "ownersHash": WORD, "threshold": UINT},
        "SetPaused": {"nonce": UINT, "epoch": UINT, "paused": "bool"},
    }.items()
}
"""As the contract documents them."""

ACTIONS = (
    batch(0, (ALICE, COIN), (BOB, 2 * COIN)),
    Action(nonce=1, epoch=0, kind="root", height=1, entries=(Entry(ALICE, uint256(3 * COIN)),), root=ROOT),
    Action(nonce=2, epoch=0, kind="pause", height=1, paused=True),
    Action(nonce=3, epoch=0, kind="pause", height=1, paused=False),
    Action(nonce=4, epoch=0, kind="rotate", height=1, owners=NEW_OWNERS, threshold=2),
)
EVENTS: dict[str, tuple[str, Any]] = {
    "Deposit": ("deposit", lambda told: DepositSeen(raw(told["account"]), uint256(told["amount"]))),
    "BatchExecuted": (
        "batch", lambda told: BatchSeen(told["nonce"], uint256(told["total"]), raw(told["relayer"])),
    ),
    "RootCommitted": (
        "root",
        lambda told: RootSeen(told["nonce"], bytes(told["root"]), uint256(told["total"]), raw(told["relayer"])),
    ),
    "OwnersRotated": (
        "rotate",
        lambda told: RotationSeen(told["nonce"], told["epoch"], bytes(told["ownersHash"]), told["threshold"]),
    ),
    "PauseSet": ("pause", lambda told: PauseSeen(told["nonce"], told["paused"])),
}  # fmt: skip
"""By web3's name of the event: our kind, and our payload from web3's arguments."""


def raw(address: str) -> bytes:
    return bytes.fromhex(address[2:])


def checksummed(address: bytes) -> str:
    return Web3.to_checksum_address(hexed(address))


@pytest.fixture
def chain() -> Iterator[Chain]:
    with Chain() as started:
        yield started


@pytest.fixture
def contract(chain: Chain) -> Contract:
    return chain.deploy_settlement(OWNERS, 3)


@pytest.fixture
def web3(chain: Chain) -> Web3:
    return Web3(Web3.HTTPProvider(chain.url))


@pytest.fixture
def witness(web3: Web3, contract: Contract) -> Web3Contract:
    artifact = json.loads((files("potchain_multisig") / "artifacts" / "PotSettlement.json").read_text())
    return web3.eth.contract(address=checksummed(contract.address), abi=artifact["abi"])


def call_of(action: Action) -> tuple[str, list[Any]]:
    """Function and arguments, without the signatures."""
    if action.kind == "batch":
        entries = action.entries
        accounts, amounts = [checksummed(each.account) for each in entries], [uint(each.amount) for each in entries]
        return "executeBatch", [action.nonce, accounts, amounts]
    if action.kind == "root":
        return "commitRoot", [action.nonce, action.root, action.total]
    if action.kind == "rotate":
        return "rotateOwners", [action.nonce, [checksummed(owner) for owner in action.owners], action.threshold]
    return "setPaused", [action.nonce, action.paused]


def message_of(web3: Web3, action: Action) -> tuple[str, dict[str, Any]]:
    """Primary type and message, hashes by web3's own abi codec."""
    place = {"nonce": action.nonce, "epoch": action.epoch}
    if action.kind == "batch":
        _, (_, accounts, amounts) = call_of(action)
        hashed = Web3.keccak(web3.codec.encode(["address[]", "uint256[]"], [accounts, amounts]))
        return "RewardBatch", {**place, "entriesHash": hashed, "total": sum(amounts)}
    if action.kind == "root":
        return "MerkleCommit", {**place, "root": action.root, "total": action.total}
    if action.kind == "rotate":
        hashed = Web3.keccak(web3.codec.encode(["address[]"], [[checksummed(owner) for owner in action.owners]]))
        return "RotateOwners", {**place, "ownersHash": hashed, "threshold": action.threshold}
    return "SetPaused", {**place, "paused": action.paused}


def witnessed_signature(web3: Web3, contract: Contract, action: Action, key: SigningKey) -> bytes:
    """By eth-account, from the typed data."""
    domain = {
        "name": "PotSettlement",
        "version": "1",
        "chainId": CHAIN_ID,
        "verifyingContract": checksummed(contract.address),
    }
    primary, message = message_of(web3, action)
    signed = Account.sign_typed_data(key.secret, domain, TYPES[primary], message)
    return bytes(signed.signature)


def witnessed_signatures(web3: Web3, contract: Contract, action: Action) -> bytes:
    return b"".join(witnessed_signature(web3, contract, action, key) for key in SIGNERS)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: f"{action.kind} {action.nonce}")
def test_owners_sign_the_same_bytes(web3: Web3, contract: Contract, action: Action) -> None:
    digest = action_digest(contract, action)
    for key in OWNERS:
        assert witnessed_signature(web3, contract, action, key) == key.sign_digest(digest)


def test_calls_transactions_and_events_are_the_same(
    chain: Chain, web3: Web3, contract: Contract, witness: Web3Contract
) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            for action in ACTIONS:
                prepared = await backend.prepare(ready(contract, action, SIGNERS), NOW_MS)
                check_transaction(web3, contract, witness, action, prepared)
                await backend.submit(prepared)
                assert (await followed(backend, prepared)).phase == "mined"
                receipt = web3.eth.get_transaction_receipt(HexBytes(prepared.transaction_hash))
                assert (receipt["status"], receipt["from"]) == (1, checksummed(RELAYER.address))
            events = (await backend.observe(0)).events
        told = [(name, log) for name in EVENTS for log in witness.events[name]().get_logs(from_block=0)]
        told.sort(key=lambda pair: pair[1]["args"]["eventNonce"])
        assert len(events) == len(told) == 1 + len(ACTIONS)
        for event, (name, log) in zip(events, told, strict=True):
            kind, payload = EVENTS[name]
            assert (event.kind, event.payload) == (kind, encode(payload(log["args"])))
            assert event.event_nonce == log["args"]["eventNonce"]
            place = (log["blockNumber"], bytes(log["blockHash"]), bytes(log["transactionHash"]), log["logIndex"])
            assert (event.block_number, event.block_hash, event.transaction_hash, event.log_index) == place

    asyncio.run(scenario())


def check_transaction(
    web3: Web3, contract: Contract, witness: Web3Contract, action: Action, prepared: Prepared
) -> None:
    name, arguments = call_of(action)
    data = witness.encode_abi(name, args=[*arguments, witnessed_signatures(web3, contract, action)])
    assert Account.recover_transaction(prepared.raw) == checksummed(RELAYER.address)
    assert bytes(Web3.keccak(prepared.raw)) == prepared.transaction_hash
    members = TypedTransaction.from_bytes(HexBytes(prepared.raw)).as_dict()
    assert hexed(bytes(members["data"])) == data
    assert (members["type"], members["chainId"], members["value"]) == (2, CHAIN_ID, 0)
    assert (bytes(members["to"]), members["nonce"]) == (contract.address, prepared.account_nonce)
    assert members["maxFeePerGas"] == prepared.fee_per_gas_wei
    call = {"from": checksummed(RELAYER.address), "to": checksummed(contract.address), "data": data}
    estimate = web3.eth.estimate_gas(call)
    assert estimate <= members["gas"] <= 2 * estimate


def test_a_batch_executed_by_web3_alone_is_what_we_see(
    chain: Chain, web3: Web3, contract: Contract, witness: Web3Contract
) -> None:
    action = ACTIONS[0]
    depositor = web3.eth.accounts[0]
    paid = witness.functions.deposit(checksummed(ALICE)).transact({"from": depositor, "value": 10 * COIN})
    web3.eth.wait_for_transaction_receipt(paid)
    name, arguments = call_of(action)
    call = witness.functions[name](*arguments, witnessed_signatures(web3, contract, action))
    place = {"from": checksummed(RELAYER.address), "nonce": 0, "chainId": CHAIN_ID}
    signed = Account.sign_transaction(call.build_transaction(place), RELAYER.secret)
    sent = web3.eth.send_raw_transaction(signed.raw_transaction)
    assert web3.eth.wait_for_transaction_receipt(sent)["status"] == 1

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            view = await backend.observe(0)
            deposit, executed = view.events
            assert decode(DepositSeen, deposit.payload) == DepositSeen(ALICE, uint256(10 * COIN))
            assert decode(BatchSeen, executed.payload) == BatchSeen(0, uint256(3 * COIN), RELAYER.address)
            assert executed.transaction_hash == bytes(sent)

            functions = witness.functions
            told = view.contract
            assert list(told.owners) == sorted(raw(owner) for owner in functions.owners().call())
            assert (told.next_nonce, told.next_event_nonce, told.epoch, told.threshold) == tuple(
                functions[view_name]().call() for view_name in ("nextNonce", "nextEventNonce", "epoch", "threshold")
            )
            assert (told.deposited, told.allocated, told.paused) == tuple(
                functions[view_name]().call() for view_name in ("deposited", "allocated", "paused")
            )
            assert (view.head_number, view.head_hash) == (
                web3.eth.block_number, bytes(web3.eth.get_block("latest")["hash"]),
            )  # fmt: skip

    asyncio.run(scenario())
    assert [witness.functions.rewards(checksummed(each)).call() for each in (ALICE, BOB)] == [COIN, 2 * COIN]
    assert [chain.reward(contract, each) for each in (ALICE, BOB)] == [COIN, 2 * COIN]


def test_the_contract_itself_agrees_with_both(web3: Web3, contract: Contract, witness: Web3Contract) -> None:
    digest = witness.functions.batchDigest(*call_of(ACTIONS[0])[1]).call()
    assert bytes(digest) == action_digest(contract, ACTIONS[0])
