"""The multisig back end on a real chain: deposits seen, actions relayed, and everything that may happen to them."""

import asyncio
from collections.abc import Iterator

import pytest
from settlement_chain import (
    COIN,
    NOW_MS,
    RELAYER,
    Chain,
    batch,
    carried_out,
    followed,
    hexed,
    key_of,
    owner_keys,
    ready,
    running,
)

from potchain import (
    Action,
    BatchSeen,
    Contract,
    DepositSeen,
    Entry,
    PauseSeen,
    RootSeen,
    RotationSeen,
    SettlementError,
    decode,
    keccak256,
    uint256,
)
from potchain_multisig.backend import EvmBackend

OWNERS = owner_keys(4)
SIGNERS = OWNERS[:3]
ALICE = key_of("alice").address
BOB = key_of("bob").address
ALWAYS_ONE = "0x600160005260206000f3"
"""Code that answers every call with the word 1."""


@pytest.fixture
def chain() -> Iterator[Chain]:
    with Chain() as started:
        yield started


@pytest.fixture
def contract(chain: Chain) -> Contract:
    return chain.deploy_settlement(OWNERS, 3)


def test_a_deposit_counts_after_k_confirmations_and_not_before(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with running(contract, [chain.url], confirmations=3) as backend:
            receipt = chain.deposit(contract, ALICE, 5 * COIN)
            chain.mine(2)
            early = await backend.observe(0)
            assert early.events == ()
            assert early.contract.next_event_nonce == 1
            assert early.contract.deposited == 5 * COIN
            chain.mine()
            view = await backend.observe(0)
            (event,) = view.events
            assert decode(DepositSeen, event.payload) == DepositSeen(ALICE, uint256(5 * COIN))
            assert (event.event_nonce, event.kind) == (0, "deposit")
            assert hexed(event.transaction_hash) == receipt["transactionHash"]
            assert hexed(event.block_hash) == receipt["blockHash"]
            assert event.block_number == view.confirmed_number == int(receipt["blockNumber"], 16)
            assert view.head_number == view.confirmed_number + 3
            assert (await backend.observe(1)).events == ()

    asyncio.run(scenario())


def test_the_contract_is_read_as_it_is(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            state = (await backend.observe(0)).contract
            assert (state.next_nonce, state.next_event_nonce, state.epoch, state.threshold) == (0, 0, 0, 3)
            assert state.owners == tuple(key.address for key in OWNERS)
            assert (state.deposited, state.allocated, state.paused) == (0, 0, False)

    asyncio.run(scenario())


def test_a_deposit_that_a_reorganisation_takes_back_is_never_seen(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with running(contract, [chain.url], confirmations=3) as backend:
            chain.mine()
            before = chain.rpc("evm_snapshot")
            chain.deposit(contract, ALICE, COIN)
            chain.mine()
            assert (await backend.observe(0)).contract.next_event_nonce == 1
            chain.rpc("evm_revert", before)
            chain.deposit(contract, BOB, 2 * COIN)
            chain.mine(5)
            (event,) = (await backend.observe(0)).events
            assert decode(DepositSeen, event.payload).account == BOB

    asyncio.run(scenario())


def test_after_a_reorganisation_below_what_was_confirmed_the_search_begins_anew(
    chain: Chain, contract: Contract
) -> None:
    async def scenario() -> None:
        async with running(contract, [chain.url], confirmations=1) as backend:
            chain.mine(3)
            before = chain.rpc("evm_snapshot")
            chain.mine(5)
            chain.deposit(contract, ALICE, COIN)
            chain.mine()
            assert len((await backend.observe(0)).events) == 1
            assert (await backend.observe(1)).events == ()
            chain.rpc("evm_revert", before)
            chain.deposit(contract, ALICE, COIN)
            chain.deposit(contract, BOB, COIN)
            chain.mine(9)
            with pytest.raises(SettlementError, match="no log of it") as caught:
                await backend.observe(1)
            assert caught.value.code == "rubbish"
            (event,) = (await backend.observe(1)).events
            assert decode(DepositSeen, event.payload).account == BOB

    asyncio.run(scenario())


def test_every_kind_of_action_is_executed_and_its_event_seen(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)
    new_owners = tuple(sorted(key.address for key in owner_keys(5)[1:]))
    root = keccak256(b"root")
    entries = (Entry(ALICE, uint256(2 * COIN)),)
    actions = [
        batch(0, (ALICE, COIN), (BOB, 2 * COIN)),
        Action(nonce=1, epoch=0, kind="root", height=1, entries=entries, root=root),
        Action(nonce=2, epoch=0, kind="pause", height=1, paused=True),
        Action(nonce=3, epoch=0, kind="pause", height=1, paused=False),
        Action(nonce=4, epoch=0, kind="rotate", height=1, owners=new_owners, threshold=2),
    ]

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            for action in actions:
                prepared, state = await carried_out(backend, ready(contract, action, SIGNERS))
                assert (state.phase, state.confirmations) == ("mined", 0)
                assert prepared.account == RELAYER.address
            view = await backend.observe(1)
            assert [event.kind for event in view.events] == ["batch", "root", "pause", "pause", "rotate"]
            assert [event.event_nonce for event in view.events] == [1, 2, 3, 4, 5]
            payloads = [event.payload for event in view.events]
            assert decode(BatchSeen, payloads[0]) == BatchSeen(0, uint256(3 * COIN), RELAYER.address)
            assert decode(RootSeen, payloads[1]) == RootSeen(1, root, uint256(2 * COIN), RELAYER.address)
            assert decode(PauseSeen, payloads[2]) == PauseSeen(2, True)
            assert decode(PauseSeen, payloads[3]) == PauseSeen(3, False)
            rotation = decode(RotationSeen, payloads[4])
            assert (rotation.nonce, rotation.epoch, rotation.threshold) == (4, 1, 2)
            assert view.contract.owners == new_owners
            assert (view.contract.epoch, view.contract.threshold, view.contract.allocated) == (1, 2, 5 * COIN)
        assert (chain.reward(contract, ALICE), chain.reward(contract, BOB)) == (COIN, 2 * COIN)

    asyncio.run(scenario())


def test_an_executed_action_is_refused_before_anything_is_sent(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            action = ready(contract, batch(0, (ALICE, COIN)), SIGNERS)
            await carried_out(backend, action)
            with pytest.raises(SettlementError, match=r"WrongNonce\(given=0, expected=1\)") as caught:
                await backend.prepare(action, NOW_MS)
            assert caught.value.code == "would_revert"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("action", "signers", "code", "text"),
    [
        (batch(0, (ALICE, 11 * COIN)), SIGNERS, "underfunded", "ExceedsDeposits"),
        (batch(1, (ALICE, COIN)), SIGNERS, "would_revert", "WrongNonce"),
        (batch(0, (ALICE, COIN)), SIGNERS[:2], "would_revert", "TooFewSignatures"),
        (batch(0, (ALICE, COIN), epoch=1), SIGNERS, "would_revert", "[A-Z][A-Za-z]+\\("),
        (batch(0, (ALICE, COIN)), (*SIGNERS[:2], key_of("stranger")), "would_revert", "[A-Z][A-Za-z]+\\("),
    ],
)
def test_what_the_contract_would_refuse_has_a_name(
    chain: Chain, contract: Contract, action: Action, signers: tuple, code: str, text: str
) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            with pytest.raises(SettlementError, match=text) as caught:
                await backend.prepare(ready(contract, action, signers), NOW_MS)
            assert caught.value.code == code

    asyncio.run(scenario())


def test_a_paused_contract_is_named(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            pause = Action(nonce=0, epoch=0, kind="pause", height=1, paused=True)
            await carried_out(backend, ready(contract, pause, SIGNERS))
            assert (await backend.observe(2)).contract.paused
            with pytest.raises(SettlementError, match="Paused") as caught:
                await backend.prepare(ready(contract, batch(1, (ALICE, COIN)), SIGNERS), NOW_MS)
            assert caught.value.code == "paused"

    asyncio.run(scenario())


def test_more_events_than_one_answer_takes_come_in_several(chain: Chain, contract: Contract) -> None:
    for number in range(70):
        chain.deposit(contract, ALICE, number + 1)

    async def scenario() -> None:
        async with running(contract, [chain.url], logs_blocks_max=7) as backend:
            first = (await backend.observe(0)).events
            assert [event.event_nonce for event in first] == list(range(64))
            rest = (await backend.observe(64)).events
            assert [event.event_nonce for event in rest] == list(range(64, 70))
            assert (await backend.observe(0)).events == first

    asyncio.run(scenario())


def test_a_long_search_goes_on_in_the_next_look(chain: Chain, contract: Contract) -> None:
    chain.mine(100)
    chain.deposit(contract, ALICE, COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url], logs_blocks_max=10, logs_questions_max=4) as backend:
            found = [len((await backend.observe(0)).events) for _ in range(3)]
            assert found == [0, 0, 1]

    asyncio.run(scenario())


def test_a_restarted_search_begins_where_the_settler_knows_it_may(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, COIN)
    chain.mine(100)
    second = int(chain.deposit(contract, BOB, COIN)["blockNumber"], 16)
    chain.mine(9)

    async def scenario() -> None:
        async with running(contract, [chain.url], logs_blocks_max=10, logs_questions_max=1) as backend:
            assert isinstance(backend, EvmBackend)
            (event,) = (await backend.observe(1, second - 5)).events
            assert event.block_number == second
        async with running(contract, [chain.url], logs_blocks_max=200, logs_questions_max=1) as backend:
            assert isinstance(backend, EvmBackend)
            with pytest.raises(SettlementError, match="no log of it"):
                await backend.observe(1, second + 1)
            assert len((await backend.observe(1, second + 1)).events) == 1

    asyncio.run(scenario())


def test_two_relayers_race_and_the_second_is_told_why_it_was_refused(chain: Chain, contract: Contract) -> None:
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
            assert (await ours.follow(first)).phase == (await theirs.follow(second)).phase == "pending"
            chain.mine()
            states = [await ours.follow(first), await theirs.follow(second)]
            assert sorted(state.phase for state in states) == ["mined", "reverted"]
            lost = next(state for state in states if state.phase == "reverted")
            assert lost.detail == "WrongNonce(given=0, expected=1)"
            chain.mine(4)
            assert [(await ours.follow(first)).confirmations, (await theirs.follow(second)).confirmations] == [4, 4]
        assert chain.reward(contract, ALICE) == COIN

    asyncio.run(scenario())


def test_submitting_twice_is_harmless(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            chain.rpc("evm_setAutomine", False)
            prepared = await backend.prepare(ready(contract, batch(0, (ALICE, COIN)), SIGNERS), NOW_MS)
            assert (await backend.follow(prepared)).phase == "unknown"
            await backend.submit(prepared)
            await backend.submit(prepared)
            chain.mine()
            await backend.submit(prepared)
            assert (await backend.follow(prepared)).phase == "mined"
        assert chain.reward(contract, ALICE) == COIN

    asyncio.run(scenario())


def test_a_stuck_transaction_is_replaced_with_a_higher_fee(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            chain.rpc("evm_setAutomine", False)
            action = ready(contract, batch(0, (ALICE, COIN)), SIGNERS)
            first = await backend.prepare(action, NOW_MS)
            await backend.submit(first)
            second = await backend.prepare(action, NOW_MS + 1, first)
            assert (second.attempt, second.account_nonce) == (1, first.account_nonce)
            assert 8 * second.fee_per_gas_wei >= 9 * first.fee_per_gas_wei
            await backend.submit(second)
            third = await backend.prepare(action, NOW_MS + 2, second)
            await backend.submit(third)
            chain.mine()
            assert (await backend.follow(third)).phase == "mined"
            assert [(await backend.follow(old)).phase for old in (first, second)] == ["replaced", "replaced"]
            with pytest.raises(SettlementError) as caught:
                await backend.prepare(action, NOW_MS + 3, third)
            assert caught.value.code == "would_revert"
        assert chain.reward(contract, ALICE) == COIN

    asyncio.run(scenario())


def test_a_forgotten_transaction_in_the_pool_is_outbid_step_by_step(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            chain.rpc("evm_setAutomine", False)
            action = ready(contract, batch(0, (ALICE, COIN)), SIGNERS)
            await backend.submit(await backend.prepare(action, NOW_MS))
            again = await backend.prepare(ready(contract, batch(0, (BOB, COIN)), SIGNERS), NOW_MS)
            with pytest.raises(SettlementError, match="underpriced") as caught:
                await backend.submit(again)
            assert caught.value.code == "gas_too_dear"
            dearer = await backend.prepare(ready(contract, batch(0, (BOB, COIN)), SIGNERS), NOW_MS, again)
            await backend.submit(dearer)
            chain.mine()
            assert (await backend.follow(dearer)).phase == "mined"
        assert (chain.reward(contract, ALICE), chain.reward(contract, BOB)) == (0, COIN)

    asyncio.run(scenario())


def test_a_transaction_that_the_pool_drops_is_unknown_and_can_be_sent_again(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            chain.rpc("evm_setAutomine", False)
            prepared = await backend.prepare(ready(contract, batch(0, (ALICE, COIN)), SIGNERS), NOW_MS)
            await backend.submit(prepared)
            chain.rpc("anvil_dropTransaction", hexed(prepared.transaction_hash))
            assert (await backend.follow(prepared)).phase == "unknown"
            await backend.submit(prepared)
            chain.mine()
            assert (await backend.follow(prepared)).phase == "mined"

    asyncio.run(scenario())


def test_a_mined_transaction_that_a_reorganisation_takes_back_is_sent_again(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            before = chain.rpc("evm_snapshot")
            prepared, state = await carried_out(backend, ready(contract, batch(0, (ALICE, COIN)), SIGNERS))
            assert state.phase == "mined"
            chain.rpc("evm_revert", before)
            assert (await backend.follow(prepared)).phase == "unknown"
            assert (await backend.observe(1)).contract.next_nonce == 0
            await backend.submit(prepared)
            assert (await followed(backend, prepared)).phase == "mined"
        assert chain.reward(contract, ALICE) == COIN

    asyncio.run(scenario())


def test_an_empty_wallet_is_told_what_it_lacks(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)
    chain.rpc("anvil_setBalance", hexed(RELAYER.address), hex(1_000))

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            with pytest.raises(SettlementError, match="holds 1000 wei") as caught:
                await backend.prepare(ready(contract, batch(0, (ALICE, COIN)), SIGNERS), NOW_MS)
            assert caught.value.code == "empty_wallet"

    asyncio.run(scenario())


def test_a_wallet_emptied_after_the_preparation_is_named_too(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            prepared = await backend.prepare(ready(contract, batch(0, (ALICE, COIN)), SIGNERS), NOW_MS)
            chain.rpc("anvil_setBalance", hexed(RELAYER.address), hex(1_000))
            with pytest.raises(SettlementError) as caught:
                await backend.submit(prepared)
            assert caught.value.code == "empty_wallet"

    asyncio.run(scenario())


def test_a_gas_spike_stops_at_the_cap_and_passes(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url], fee_cap_wei=30 * 10**9) as backend:
            action = ready(contract, batch(0, (ALICE, COIN)), SIGNERS)
            chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(200 * 10**9))
            chain.mine()
            with pytest.raises(SettlementError, match=r"fee_cap_wei allows 30$") as caught:
                await backend.prepare(action, NOW_MS)
            assert caught.value.code == "gas_too_dear"
            chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
            chain.mine()
            assert (await carried_out(backend, action))[1].phase == "mined"

    asyncio.run(scenario())


def test_a_call_above_the_gas_cap_is_not_sent(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)

    async def scenario() -> None:
        async with running(contract, [chain.url], gas_max=50_000) as backend:
            with pytest.raises(SettlementError, match="50000 are allowed") as caught:
                await backend.prepare(ready(contract, batch(0, (ALICE, COIN)), SIGNERS), NOW_MS)
            assert caught.value.code == "gas_too_much"

    asyncio.run(scenario())


def test_a_full_batch_of_500_fits_one_transaction(chain: Chain, contract: Contract) -> None:
    chain.deposit(contract, ALICE, 10 * COIN)
    entries = [(keccak256(b"payee %d" % number)[:20], number + 1) for number in range(500)]

    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            _, state = await carried_out(backend, ready(contract, batch(0, *entries), SIGNERS))
            assert state.phase == "mined"
        assert chain.reward(contract, entries[0][0]) == 1

    asyncio.run(scenario())


def test_a_node_without_a_relay_key_observes_and_does_not_send(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with running(contract, [chain.url], key=None) as backend:
            assert (await backend.observe(0)).contract.threshold == 3
            with pytest.raises(SettlementError) as caught:
                await backend.prepare(ready(contract, batch(0, (ALICE, COIN)), SIGNERS), NOW_MS)
            assert caught.value.code == "not_configured"

    asyncio.run(scenario())


@pytest.mark.parametrize("place", ["nowhere", "other code"])
def test_the_contract_must_be_ours(chain: Chain, contract: Contract, place: str) -> None:
    target = key_of("target").address
    if place == "other code":
        chain.rpc("anvil_setCode", hexed(target), ALWAYS_ONE)
    bound = Contract("multisig", contract.chain_id, target, bytes(20), 0, 0)

    async def scenario() -> None:
        async with running(bound, [chain.url], opened=False) as backend:
            with pytest.raises(SettlementError) as caught:
                await backend.open()
            assert caught.value.code == "wrong_contract"

    asyncio.run(scenario())


def test_a_contract_of_ones_own_is_taken_by_its_hash(chain: Chain, contract: Contract) -> None:
    code = bytes.fromhex(chain.rpc("eth_getCode", hexed(contract.address), "latest")[2:])

    async def scenario() -> None:
        async with running(contract, [chain.url], code_hash=hexed(keccak256(code))) as backend:
            assert (await backend.observe(0)).contract.threshold == 3
        async with running(contract, [chain.url], code_hash="0x" + "11" * 32, opened=False) as backend:
            with pytest.raises(SettlementError, match="not code_hash"):
                await backend.open()

    asyncio.run(scenario())


def test_a_contract_of_ones_own_must_ask_for_the_ledgers_digests(chain: Chain) -> None:
    target = key_of("target").address
    chain.rpc("anvil_setCode", hexed(target), ALWAYS_ONE)
    bound = Contract("multisig", chain.chain_id, target, bytes(20), 0, 0)
    chosen = hexed(keccak256(bytes.fromhex(ALWAYS_ONE[2:])))

    async def scenario() -> None:
        async with running(bound, [chain.url], code_hash=chosen, opened=False) as backend:
            with pytest.raises(SettlementError, match="domainSeparator") as caught:
                await backend.open()
            assert caught.value.code == "wrong_contract"

    asyncio.run(scenario())


def test_another_chain_is_refused(chain: Chain, contract: Contract) -> None:
    other = Contract("multisig", 56, contract.address, bytes(20), 0, contract.from_block)

    async def scenario() -> None:
        async with running(other, [chain.url], opened=False) as backend:
            with pytest.raises(SettlementError, match="serves chain 31337; the contract is on chain 56") as caught:
                await backend.open()
            assert caught.value.code == "wrong_chain"

    asyncio.run(scenario())
