"""The safe back end: a real Gnosis Safe 1.4.1 that owns PotBook, its owners' signatures, and its use of its nonce."""

import asyncio
from collections.abc import Iterator

import pytest
from eth_account.messages import encode_typed_data
from settlement_chain import (
    COIN,
    NOBODY,
    NOW_MS,
    Chain,
    arguments,
    batch,
    carried_out,
    hexed,
    key_of,
    owner_keys,
    ready,
    running,
    safe_interface,
)

from potchain import (
    Action,
    BatchSeen,
    Contract,
    Entry,
    PauseSeen,
    RootSeen,
    SettlementError,
    action_digest,
    decode,
    keccak256,
    uint,
    uint256,
)
from potchain.settlement.digests import can_do
from potchain.settlement.safe import book_call
from potchain_multisig.calls import Interface, load_artifact

OWNERS = owner_keys(4)
SIGNERS = OWNERS[:3]
ALICE = key_of("alice").address
BOB = key_of("bob").address
ROOT = Action(
    nonce=1, epoch=0, kind="root", height=2, entries=(Entry(ALICE, uint256(COIN)),), root=keccak256(b"some root")
)
PAUSE = Action(nonce=2, epoch=0, kind="pause", height=3, paused=True)


@pytest.fixture
def chain() -> Iterator[Chain]:
    with Chain() as started:
        yield started


@pytest.fixture
def contract(chain: Chain) -> Contract:
    return chain.deploy_safe(OWNERS, 3)


def used_by_its_owners(chain: Chain, contract: Contract, nonce: int) -> None:
    """A transaction of the Safe's own: nothing, to nobody, but it takes a nonce."""
    members = (NOBODY, 0, b"", 0, 0, 0, 0, NOBODY, NOBODY)
    safe = safe_interface()
    asked = {"to": hexed(contract.safe), "data": hexed(safe.encode("getTransactionHash", *members, nonce))}
    digest = bytes.fromhex(chain.rpc("eth_call", asked, "latest")[2:])
    signatures = b"".join(key.sign_digest(digest) for key in SIGNERS)
    chain.transact(contract.safe, safe.encode("execTransaction", *members, signatures))


def test_every_action_that_a_safe_can_do_is_executed(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            for action in (batch(0, (ALICE, COIN), (BOB, 2 * COIN)), ROOT, PAUSE):
                _, state = await carried_out(backend, ready(contract, action, SIGNERS))
                assert state.phase == "mined"
            view = await backend.observe(0)
            assert [event.kind for event in view.events] == ["deposit", "batch", "root", "pause"]
            payloads = [event.payload for event in view.events]
            assert decode(BatchSeen, payloads[1]) == BatchSeen(0, uint256(3 * COIN), contract.safe)
            assert decode(RootSeen, payloads[2]) == RootSeen(1, ROOT.root, uint256(COIN), contract.safe)
            assert decode(PauseSeen, payloads[3]) == PauseSeen(2, True)
            state_now = view.contract
            assert state_now.owners == tuple(key.address for key in OWNERS)
            assert (state_now.threshold, state_now.epoch, state_now.next_nonce) == (3, 0, 3)
            assert state_now.paused
        assert (chain.reward(contract, ALICE), chain.reward(contract, BOB)) == (COIN, 2 * COIN)

    asyncio.run(scenario())


def test_the_book_says_why_it_refuses_though_the_safe_does_not(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            with pytest.raises(SettlementError, match="ExceedsDeposits") as caught:
                await backend.prepare(ready(contract, batch(0, (ALICE, 2 * COIN)), SIGNERS), NOW_MS)
            assert caught.value.code == "underfunded"
            stranger = (*SIGNERS[:2], key_of("stranger"))
            with pytest.raises(SettlementError, match="GS026") as caught:
                await backend.prepare(ready(contract, batch(0, (ALICE, COIN)), stranger), NOW_MS)
            assert caught.value.code == "would_revert"
            with pytest.raises(SettlementError, match="GS020"):
                await backend.prepare(ready(contract, batch(0, (ALICE, COIN)), SIGNERS[:2]), NOW_MS)

    asyncio.run(scenario())


def test_a_lost_race_is_explained_by_the_book(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)
    rival = key_of("rival")
    chain.rpc("anvil_setBalance", hexed(rival.address), hex(COIN))

    async def scenario() -> None:
        action = ready(contract, batch(0, (ALICE, COIN)), SIGNERS)
        async with running(contract, [chain.url]) as ours, running(contract, [chain.url], key=rival) as theirs:
            first, second = await ours.prepare(action, NOW_MS), await theirs.prepare(action, NOW_MS)
            chain.rpc("evm_setAutomine", False)
            await ours.submit(first)
            await theirs.submit(second)
            chain.mine()
            states = [await ours.follow(first), await theirs.follow(second)]
            lost = next(state for state in states if state.phase == "reverted")
            assert lost.detail == "WrongNonce(given=0, expected=1)"
        assert chain.reward(contract, ALICE) == COIN

    asyncio.run(scenario())


def test_a_safe_that_was_used_for_something_else_is_named_and_bound_again(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            await carried_out(backend, ready(contract, batch(0, (ALICE, COIN)), SIGNERS))
            used_by_its_owners(chain, contract, 1)
            with pytest.raises(SettlementError, match="nonce is 2, not 1") as caught:
                await backend.prepare(ready(contract, batch(1, (ALICE, COIN)), SIGNERS), NOW_MS)
            assert caught.value.code == "safe_moved"
            assert (await backend.observe(0)).contract.next_nonce == 1
        again = Contract("safe", contract.chain_id, contract.address, contract.safe, 1, contract.from_block)
        async with running(again, [chain.url]) as backend:
            _, state = await carried_out(backend, ready(again, batch(1, (ALICE, COIN)), SIGNERS))
            assert state.phase == "mined"

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["another safe", "no safe", "a multisig", "an owner that is no safe"])
def test_book_and_safe_must_belong_together(chain: Chain, contract: Contract, fault: str) -> None:
    book, safe = contract.address, contract.safe
    if fault == "another safe":
        safe = chain.deploy_safe(OWNERS, 2).safe
    elif fault == "no safe":
        safe = key_of("nobody").address
    elif fault == "a multisig":
        book = chain.deploy_settlement(OWNERS, 3).address
    else:
        safe = chain.deploy_settlement(OWNERS, 3).address
        owned = arguments(["address", "address"], safe, NOBODY)
        book, _ = chain.deploy(load_artifact("PotBook").bytecode, owned)

    async def scenario() -> None:
        wrong = Contract("safe", chain.chain_id, book, safe, 0, 0)
        async with running(wrong, [chain.url], opened=False) as backend:
            with pytest.raises(SettlementError) as caught:
                await backend.open()
            assert caught.value.code == "wrong_contract"

    asyncio.run(scenario())


def test_a_safe_does_not_rotate(chain: Chain, contract: Contract) -> None:
    rotation = Action(nonce=0, epoch=0, kind="rotate", height=1, owners=(ALICE,), threshold=1)
    assert [can_do("safe", kind) for kind in ("batch", "root", "pause", "rotate")] == [True, True, True, False]
    assert can_do("multisig", "rotate")
    assert not can_do("other", "batch")
    with pytest.raises(SettlementError, match="change its owners in the Safe") as caught:
        action_digest(contract, rotation)
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize("action", [batch(0, (ALICE, 1), (BOB, 2)), ROOT, PAUSE], ids=lambda action: action.kind)
def test_the_core_encodes_the_books_calls_as_its_abi_says(action: Action) -> None:
    book = Interface(load_artifact("PotBook").abi)
    accounts = [entry.account for entry in action.entries]
    amounts = [uint(entry.amount) for entry in action.entries]
    if action.kind == "batch":
        expected = book.encode("credit", 0, accounts, amounts)
    elif action.kind == "root":
        expected = book.encode("commitRoot", 1, action.root, COIN)
    else:
        expected = book.encode("setPaused", 2, True)
    assert book_call(action) == expected


def test_the_digest_is_that_of_an_independent_library() -> None:
    contract = Contract("safe", 56, key_of("book").address, key_of("safe").address, 7, 0)
    action = batch(3, (ALICE, COIN))
    kinds = (
        ("to", "address"), ("value", "uint256"), ("data", "bytes"), ("operation", "uint8"), ("safeTxGas", "uint256"),
        ("baseGas", "uint256"), ("gasPrice", "uint256"), ("gasToken", "address"), ("refundReceiver", "address"),
        ("nonce", "uint256"),
    )  # fmt: skip
    nobody = hexed(NOBODY)
    message = {
        "to": hexed(contract.address), "value": 0, "data": book_call(action), "operation": 0, "safeTxGas": 0,
        "baseGas": 0, "gasPrice": 0, "gasToken": nobody, "refundReceiver": nobody, "nonce": 10,
    }  # fmt: skip
    domain = {"chainId": 56, "verifyingContract": hexed(contract.safe)}
    types = {"SafeTx": [{"name": name, "type": kind} for name, kind in kinds]}
    signable = encode_typed_data(domain, types, message)
    assert keccak256(b"\x19\x01" + signable.header + signable.body) == action_digest(contract, action)
