"""How a change of validators or parameters is decided and when it takes effect, in the state, without replicas."""

from __future__ import annotations

import msgspec
import pytest
from core_network import Chain, key, make_genesis, make_validators
from epoch_application import EpochApplication, change, with_parameters
from hypothesis import given, settings
from hypothesis import strategies as st

from potchain.application.accounts import AccountsApplication, load_account, treasury_balance
from potchain.application.epochs import (
    CURRENT_KEY,
    PENDING_KEY,
    QUEUED_KEY,
    EndBlockFailed,
    EpochEnded,
    EpochPlanned,
    boundary_of,
    change_epoch,
    current_epoch,
    pending_epoch,
)
from potchain.application.interface import BlockContext, EventData, StateWriter
from potchain.blocks import ExecutedBlock
from potchain.codec import decode, encode
from potchain.errors import PluginError
from potchain.genesis import (
    PARAMETER_MAX,
    VALIDATORS_MAX,
    Epoch,
    Parameters,
    Validator,
    epoch_digest,
    member_faults,
    parameter_faults,
)
from potchain.primitives import uint
from potchain.transactions import Transaction

EVERYBODY = make_validators([f"v{number}" for number in range(6)])
FIVE = [f"v{number}" for number in range(5)]


def chain_of(**parameters: int) -> Chain:
    """Four validators; checkpoints every 4 heights, a window of 8: a change in block 1 ends the epoch at 12."""
    genesis = make_genesis([("alice", 10_000)], 4, **{"checkpoint_interval": 4, "log_window": 8, **parameters})
    return Chain(genesis, (AccountsApplication(), EpochApplication(EVERYBODY)))


def wanted(chain: Chain, nonce: int, members: list[str] | None = None, **parameters: int) -> Transaction:
    return change(chain.executor.types, "alice", nonce, members or (), parameters)


def run_to(chain: Chain, height: int) -> ExecutedBlock:
    """Empty blocks up to a height."""
    while chain.tip.height < height:
        chain.run()
    return chain.blocks[-1]


def names(epoch: Epoch) -> list[str]:
    return [member.name for member in epoch.members]


def events_of(block: ExecutedBlock) -> list[EventData]:
    kinds = {kind.__name__: kind for kind in (EpochPlanned, EpochEnded, EndBlockFailed)}
    listed = [event for receipt in block.receipts for event in receipt.events] + list(block.end_events)
    return [decode(kinds[event.kind], event.data) for event in listed if event.kind in kinds]


# --- when -----------------------------------------------------------------------------------------------------------


def test_the_state_names_the_epoch_from_the_start() -> None:
    chain = chain_of()
    assert current_epoch(chain.state) == chain.genesis.first_epoch
    assert pending_epoch(chain.state) is None


def test_a_change_takes_effect_after_the_first_checkpoint_a_window_later() -> None:
    chain = chain_of()
    block = chain.run(wanted(chain, 0, FIVE))
    assert block.header.next_epoch == b""
    assert events_of(block) == [EpochPlanned(1, 13, 5)]
    pending = pending_epoch(chain.state)
    assert pending is not None
    assert (pending.number, pending.first_sequence, names(pending)) == (1, 13, FIVE)
    assert pending.parameters == chain.genesis.parameters
    run_to(chain, 11)
    assert all(not each.header.next_epoch and not each.next_epoch for each in chain.blocks)
    assert current_epoch(chain.state) == chain.genesis.first_epoch
    last = run_to(chain, 12)
    assert last.header.epoch == 0, "block C itself belongs to the epoch that it ends"
    assert last.header.next_epoch == epoch_digest(pending)
    assert last.next_epoch == encode(pending)
    assert events_of(last) == [EpochEnded(1, 13, 5)]
    assert current_epoch(chain.state) == pending
    assert pending_epoch(chain.state) is None
    assert run_to(chain, 13).header.epoch == 1
    assert chain.tip.proposer == pending.ids[1], "members[(epoch + view) mod n]"


@given(
    height=st.integers(1, 10_000),
    interval=st.integers(1, 200),
    more=st.integers(0, 500),
)
def test_c_is_the_first_checkpoint_at_or_above_h_plus_l(height: int, interval: int, more: int) -> None:
    window = 2 * interval + more
    parameters = Parameters(checkpoint_interval=interval, log_window=window)
    last = boundary_of(Epoch(0, 1, EVERYBODY, parameters), height)
    assert last % interval == 0
    assert height + window <= last < height + window + interval


def test_the_old_epochs_parameters_say_when_and_the_new_ones_hold_after_it() -> None:
    chain = chain_of()
    chain.run(wanted(chain, 0, checkpoint_interval=5, log_window=10, base_fee=50))
    run_to(chain, 12)
    epoch = current_epoch(chain.state)
    assert epoch.first_sequence == 13
    assert epoch.parameters == with_parameters(
        chain.genesis.parameters, checkpoint_interval=5, log_window=10, base_fee=50
    )
    dear = change(chain.executor.types, "alice", 1, FIVE, fee=49)
    assert chain.run(dear).receipts[0].code == "insufficient_fee"
    chain.run(change(chain.executor.types, "alice", 1, FIVE, fee=50))
    pending = pending_epoch(chain.state)
    assert pending is not None
    assert pending.first_sequence - 1 == 25, "14 + 10 = 24, and the next multiple of 5"


# --- several changes ------------------------------------------------------------------------------------------------


def test_changes_with_one_boundary_make_one_epoch() -> None:
    chain = chain_of()
    chain.run(wanted(chain, 0, FIVE))
    chain.run(wanted(chain, 1, batch_max=7), wanted(chain, 2, base_fee=11))
    run_to(chain, 3)
    chain.run(wanted(chain, 3, ["v0", "v5"]))  # at 4: 4 + 8 is 12, the last height with that boundary
    run_to(chain, 12)
    epoch = current_epoch(chain.state)
    assert (epoch.number, epoch.first_sequence) == (1, 13)
    assert names(epoch) == ["v0", "v5"], "of two sets the later one counts"
    assert (epoch.parameters.batch_max, epoch.parameters.base_fee) == (7, 11)


def test_a_change_that_comes_too_late_makes_the_next_epoch() -> None:
    chain = chain_of()
    chain.run(wanted(chain, 0, FIVE))
    run_to(chain, 4)
    late = chain.run(wanted(chain, 1, batch_max=7), wanted(chain, 2, [*FIVE, "v5"]))
    assert events_of(late) == [EpochPlanned(2, 0, 5), EpochPlanned(2, 0, 6)]
    assert chain.state.get(QUEUED_KEY) is not None
    last = run_to(chain, 12)
    first = current_epoch(chain.state)
    assert (names(first), first.parameters.batch_max) == (FIVE, 1_000)
    # It becomes pending where the first takes effect, as if decided there: 12 + 8 is 20, a checkpoint.
    assert events_of(last) == [EpochEnded(1, 13, 5), EpochPlanned(2, 21, 6)]
    assert chain.state.get(QUEUED_KEY) is None
    run_to(chain, 20)
    second = current_epoch(chain.state)
    assert (second.number, second.first_sequence, len(second.members)) == (2, 21, 6)
    assert second.parameters.batch_max == 7
    assert chain.state.get(PENDING_KEY) is None


def test_a_change_decided_in_block_c_itself_belongs_to_the_next_epoch() -> None:
    chain = chain_of()
    chain.run(wanted(chain, 0, FIVE))
    run_to(chain, 11)
    last = chain.run(wanted(chain, 1, batch_max=7))
    assert events_of(last) == [EpochPlanned(2, 0, 5), EpochEnded(1, 13, 5), EpochPlanned(2, 21, 5)]
    assert decode(Epoch, last.next_epoch).parameters.batch_max == 1_000


@settings(max_examples=60)
@given(changes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 6)), max_size=6), interval=st.integers(1, 5))
def test_epochs_follow_one_another_without_gaps(changes: list[tuple[int, int]], interval: int) -> None:
    chain = chain_of(checkpoint_interval=interval, log_window=2 * interval, in_flight_max=1)
    by_height: dict[int, list[int]] = {}
    for height, members in changes:
        by_height.setdefault(height, []).append(members)
    nonce = 0
    epochs = [chain.genesis.first_epoch]
    for height in range(1, 80):
        transactions = []
        for members in by_height.get(height, []):
            transactions.append(wanted(chain, nonce, [f"v{number}" for number in range(members)]))
            nonce += 1
        ended = chain.epoch
        block = chain.run(*transactions)
        assert block.header.epoch == ended.number
        assert bool(block.next_epoch) == bool(block.header.next_epoch) == (chain.epoch is not ended)
        if block.next_epoch:
            following = decode(Epoch, block.next_epoch)
            assert (following.number, following.first_sequence) == (ended.number + 1, height + 1)
            assert height % ended.parameters.checkpoint_interval == 0
            assert height - ended.first_sequence + 1 >= ended.parameters.log_window
            epochs.append(following)
        assert chain.state.get(CURRENT_KEY) == encode(epochs[-1])
    if changes:
        assert len(epochs) > 1
        assert pending_epoch(chain.state) is None
    last = max(changes, key=lambda change: change[0], default=(0, 4))[0]
    final = [members for height, members in changes if height == last]
    assert len(epochs[-1].members) == (final[-1] if final else 4), "no change is lost"


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "parameters"),
    [
        (["v0", "v0"], {}),
        ([], {"log_window": 7}),
        ([], {"batch_max": 0}),
        ([], {"checkpoint_interval": PARAMETER_MAX, "log_window": 2**40}),
        (["v0"], {"view_timeout_ms": 9_000}),
    ],
)
def test_what_would_make_no_sound_epoch_is_a_failed_transaction(members: list[str], parameters: dict[str, int]) -> None:
    chain = chain_of()
    block = chain.run(wanted(chain, 0, members, **parameters), wanted(chain, 1, batch_max=7))
    assert [(receipt.status, receipt.code) for receipt in block.receipts] == [("failed", "invalid_epoch"), ("ok", "")]
    run_to(chain, 12)
    assert names(current_epoch(chain.state)) == ["v0", "v1", "v2", "v3"]
    assert current_epoch(chain.state).parameters == with_parameters(chain.genesis.parameters, batch_max=7)


def test_a_change_may_not_contradict_the_one_it_joins() -> None:
    chain = chain_of()
    first, second = wanted(chain, 0, log_window=100), wanted(chain, 1, checkpoint_interval=50)
    assert [each.status for each in chain.run(first, second).receipts] == ["ok", "ok"]
    assert chain.run(wanted(chain, 2, log_window=99)).receipts[0].code == "invalid_epoch"


def test_faults_of_validators_and_parameters_are_named() -> None:
    four = EVERYBODY[:4]
    assert member_faults(four) == []
    assert member_faults(()) == [f"0 validators, 1 to {VALIDATORS_MAX} are allowed"]
    twice = msgspec.structs.replace(four[1], node_key=four[0].node_key, operator=four[0].operator)
    assert member_faults([four[0], twice]) == ["two validators have one node_key", "two validators have one operator"]
    odd = Validator(name="", node_key=b"short", consensus_key=bytes(33), operator=bytes(20))
    assert len(member_faults([odd])) == 3
    huge = with_parameters(Parameters(), log_window=PARAMETER_MAX + 1, base_fee=2**63)
    assert parameter_faults(huge) == [f"parameters.log_window exceeds {PARAMETER_MAX}"]


class Reckless(AccountsApplication):
    """Changes the epoch at the end of every third block, every sixth time into nonsense."""

    name = "reckless"
    event_types: tuple[type[EventData], ...] = ()
    body_types = ()

    def genesis_records(self, genesis: object) -> tuple[()]:
        return ()

    def end_block(self, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        if context.height % 3:
            return ()
        state.put(b"reckless", b"%d" % context.height)
        window = 1 if context.height % 6 == 0 else 20
        return (change_epoch(context, state, parameters=with_parameters(context.epoch.parameters, log_window=window)),)


def test_an_application_may_change_the_epoch_at_the_end_of_a_block_and_fail() -> None:
    chain = Chain(chain_of().genesis, (AccountsApplication(), Reckless()))
    run_to(chain, 3)
    assert events_of(chain.blocks[-1]) == [EpochPlanned(1, 13, 4)]
    run_to(chain, 6)
    assert events_of(chain.blocks[-1]) == [EndBlockFailed("reckless", "invalid_epoch")]
    assert chain.state.get(b"reckless") == b"3", "all that it did at the end of that block is undone"


def test_nobody_else_writes_the_records_of_the_core() -> None:
    class Greedy(EpochApplication):
        def genesis_records(self, genesis: object) -> tuple[tuple[bytes, bytes], ...]:
            return ((CURRENT_KEY, b"mine"),)

    with pytest.raises(PluginError, match="epoch/current"):
        Chain(make_genesis(), (AccountsApplication(), Greedy(EVERYBODY)))


def test_money_is_conserved_over_epochs() -> None:
    chain = chain_of()
    chain.run(wanted(chain, 0, FIVE), chain.transfer("alice", "bob", 5, nonce=1))
    run_to(chain, 13)
    balances = [uint(load_account(chain.state, key(name).address).balance) for name in ("alice", "bob")]
    assert sum(balances) + treasury_balance(chain.state) == 10_000
