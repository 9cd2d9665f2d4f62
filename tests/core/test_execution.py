"""The executor: block time, every skip and failure, roll-back, fees, and that no money is made or lost."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from core_network import NO_ORDER, START_MS, Chain, key, make_genesis
from hypothesis import given, settings
from hypothesis import strategies as st

from potchain import merkle
from potchain.application.accounts import (
    ACCOUNT_PREFIX,
    Account,
    AccountsApplication,
    load_account,
    treasury_balance,
)
from potchain.application.execution import Executor, WorkingState
from potchain.application.interface import BlockContext, EventData, StateReader, StateWriter
from potchain.application.state import AuthenticatedState
from potchain.blocks import (
    ExecutedBlock,
    StateChange,
    block_hash,
    build_proposal,
    event_leaves,
    proposal_digest,
    receipts_root,
)
from potchain.codec import decode
from potchain.errors import InvalidTransaction, PluginError, TransactionFailed
from potchain.genesis import Epoch, Genesis
from potchain.primitives import STORED_MAX, UINT256_MAX, ZERO_ADDRESS, Text, Uint64, uint, uint256
from potchain.transactions import Transaction, TransactionBody

BALANCES = [("alice", 1_000), ("bob", 1_000), ("poor", 9)]
NAMES = ("alice", "bob", "poor", "carol")


def make_chain() -> Chain:
    return Chain(make_genesis(BALANCES))


def account(chain: Chain, name: str) -> tuple[int, int]:
    found = load_account(chain.state, key(name).address)
    return found.nonce, uint(found.balance)


def outcomes(block: ExecutedBlock) -> list[tuple[str, str, int]]:
    return [(receipt.status, receipt.code, uint(receipt.fee)) for receipt in block.receipts]


def money(state: AuthenticatedState) -> int:
    balances = [
        uint(decode(Account, value).balance) for key_, value in state.items() if key_.startswith(ACCOUNT_PREFIX)
    ]
    return sum(balances) + treasury_balance(state)


# Blocks


def test_the_genesis_block_has_no_parent_and_the_genesis_time() -> None:
    chain = make_chain()
    header = chain.tip
    assert (header.height, header.epoch, header.proposer, header.next_epoch) == (0, 0, b"", b"")
    assert header.parent_hash == header.digest == bytes(32)
    assert header.tx_root == header.receipts_root == header.events_root == merkle.EMPTY_ROOT
    assert header.block_time_ms == START_MS
    assert header.state_root == chain.state.root


def test_a_block_commits_to_all_that_came_of_it() -> None:
    chain = make_chain()
    first = chain.run(chain.transfer("alice", "bob", 5))
    transactions = [chain.transfer("alice", "bob", 5, nonce=1), chain.transfer("bob", "carol", 7)]
    block = chain.run(*transactions)
    header = block.header
    assert header.height == block.height == 2
    assert header.parent_hash == first.hash == block_hash(first.header)
    assert block.hash == block_hash(header)
    assert header.digest == proposal_digest(block.proposal.header)
    assert header.proposer == chain.genesis.first_epoch.ids[0]
    assert header.tx_root == merkle.root([transaction.id for transaction in transactions])
    assert header.tx_count == 2
    assert header.receipts_root == receipts_root(block.receipts)
    assert header.events_root == merkle.root(event_leaves(block.receipts, block.end_events))
    assert header.state_root == chain.state.root
    assert block.bodies == tuple(transaction.raw for transaction in transactions)
    assert [receipt.index for receipt in block.receipts] == [0, 1]
    assert [receipt.transaction_id for receipt in block.receipts] == [transaction.id for transaction in transactions]


def test_execute_alone_changes_no_state() -> None:
    chain = make_chain()
    before = chain.state.root
    transaction = chain.transfer("alice", "bob", 5)
    epoch = chain.genesis.first_epoch
    proposal = build_proposal(chain.genesis.hash, 0, 1, START_MS, epoch.ids[0], [transaction.id])
    result = chain.executor.execute(chain.tip, epoch, proposal, [transaction], chain.state, NO_ORDER)
    assert chain.state.root == before
    assert result.next_epoch is None
    root = chain.state.apply(result.changes)
    sealed = chain.executor.seal(result, root)
    assert sealed.header == msgspec.structs.replace(result.header, state_root=root)


def test_the_changes_lead_from_one_root_to_the_next() -> None:
    chain = make_chain()
    before = dict(chain.state.items())
    block = chain.run(chain.transfer("alice", "bob", 5), chain.transfer("poor", "bob", 5))
    keys = [change.key for change in block.changes]
    assert keys == sorted(keys)
    assert len(keys) == 3, "alice, bob and the treasury; a skipped sender is untouched"
    replayed = AuthenticatedState.from_records(before.items())
    assert replayed.apply(block.changes) == block.header.state_root


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (START_MS + 5_000, START_MS + 5_000),
        (START_MS, START_MS + 1),
        (START_MS - 9_000, START_MS + 1),
        (0, START_MS + 1),
    ],
)
def test_block_time_never_stands_still(timestamp: int, expected: int) -> None:
    assert make_chain().run(timestamp_ms=timestamp).header.block_time_ms == expected


def test_a_null_request_makes_an_empty_block_a_millisecond_later() -> None:
    chain = make_chain()
    chain.run()
    block = chain.run_null()
    assert block.header.block_time_ms == START_MS + 1_001
    assert block.header.proposer == b""
    assert block.header.tx_root == merkle.EMPTY_ROOT
    assert (block.header.tx_count, block.receipts, block.changes) == (0, (), ())


def test_bodies_must_be_the_proposal_s() -> None:
    chain = make_chain()
    one, other = chain.transfer("alice", "bob", 5), chain.transfer("alice", "bob", 6)
    epoch = chain.genesis.first_epoch
    proposal = build_proposal(chain.genesis.hash, 0, 1, START_MS, epoch.ids[0], [one.id])
    for bodies in ([other], [], [one, one]):
        with pytest.raises(AssertionError):
            chain.executor.execute_block(chain.tip, epoch, proposal, bodies, chain.state, NO_ORDER)


# What cannot apply


@pytest.mark.parametrize(
    ("code", "sender", "changes"),
    [
        ("stale_nonce", "alice", {"nonce": 0}),
        ("future_nonce", "alice", {"nonce": 2}),
        ("future_nonce", "alice", {"nonce": STORED_MAX}),
        ("expired", "alice", {"nonce": 1, "valid_until": START_MS + 1_999}),
        ("insufficient_fee", "alice", {"nonce": 1, "fee": 9}),
        ("insufficient_fee", "alice", {"nonce": 1, "fee": 0}),
        ("insufficient_funds", "alice", {"nonce": 1, "fee": 990}),
        ("insufficient_funds", "alice", {"nonce": 1, "fee": UINT256_MAX}),
        ("insufficient_funds", "poor", {}),
        ("insufficient_funds", "nobody", {}),
        ("stale_nonce", "alice", {"nonce": 0, "valid_until": 1, "fee": 0}),
        ("expired", "alice", {"nonce": 1, "valid_until": 1, "fee": 0}),
        ("insufficient_fee", "poor", {"fee": 1}),
    ],
)
def test_a_skipped_inclusion_changes_nothing_and_pays_nothing(code: str, sender: str, changes: dict[str, int]) -> None:
    chain = make_chain()
    chain.run(chain.transfer("alice", "bob", 1))
    before = chain.state.root
    block = chain.run(chain.transfer(sender, "bob", **{"amount": 1, **changes}))  # type: ignore[arg-type]
    assert outcomes(block) == [("skipped", code, 0)]
    assert block.receipts[0].events == ()
    assert block.changes == ()
    assert block.header.state_root == before


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("zero_address", {"to": ZERO_ADDRESS}),
        ("zero_amount", {"amount": 0}),
        ("memo_too_long", {"memo": bytes(65)}),
        ("insufficient_funds", {"amount": 986}),
        ("insufficient_funds", {"amount": UINT256_MAX}),
    ],
)
def test_a_failed_transaction_keeps_its_place_and_its_fee(code: str, changes: dict[str, int]) -> None:
    chain = make_chain()
    block = chain.run(chain.transfer("alice", fee=15, **{"to": "bob", "amount": 5, **changes}))  # type: ignore[arg-type]
    assert outcomes(block) == [("failed", code, 15)]
    assert block.receipts[0].events == ()
    assert account(chain, "alice") == (1, 985)
    assert account(chain, "bob") == (0, 1_000)
    assert treasury_balance(chain.state) == 15


def test_the_last_moment_and_the_last_coin_are_enough() -> None:
    chain = make_chain()
    block = chain.run(chain.transfer("alice", "bob", 990, valid_until=START_MS + 1_000))
    assert outcomes(block) == [("ok", "", 10)]
    assert account(chain, "alice") == (1, 0)


def test_one_id_included_twice_executes_once() -> None:
    chain = make_chain()
    transaction = chain.transfer("alice", "bob", 5)
    block = chain.run(transaction, transaction)
    assert outcomes(block) == [("ok", "", 10), ("skipped", "stale_nonce", 0)]
    assert outcomes(chain.run(transaction)) == [("skipped", "stale_nonce", 0)]
    assert account(chain, "bob") == (0, 1_005)


def test_a_skipped_id_may_execute_later() -> None:
    chain = make_chain()
    later = chain.transfer("alice", "bob", 5, nonce=1)
    assert outcomes(chain.run(later)) == [("skipped", "future_nonce", 0)]
    block = chain.run(chain.transfer("alice", "bob", 5), later)
    assert outcomes(block) == [("ok", "", 10), ("ok", "", 10)]


def test_two_bodies_with_one_nonce_take_one_place() -> None:
    chain = make_chain()
    block = chain.run(chain.transfer("alice", "bob", 1), chain.transfer("alice", "bob", 2))
    assert outcomes(block) == [("ok", "", 10), ("skipped", "stale_nonce", 0)]


def test_money_received_in_a_block_can_be_spent_in_it() -> None:
    chain = make_chain()
    block = chain.run(chain.transfer("alice", "carol", 100), chain.transfer("carol", "bob", 90))
    assert outcomes(block) == [("ok", "", 10), ("ok", "", 10)]
    assert account(chain, "carol") == (1, 0)


def test_fees_reach_the_treasury_after_the_last_transaction() -> None:
    chain = make_chain()
    chain.run(chain.transfer("alice", "bob", 1, fee=20), chain.transfer("bob", "bob", 0, fee=30))
    assert treasury_balance(chain.state) == 50
    chain.run(chain.transfer("alice", "bob", 1, nonce=1))
    assert treasury_balance(chain.state) == 60


inclusions: st.SearchStrategy[dict[str, object]] = st.builds(
    dict,
    sender=st.sampled_from(NAMES),
    to=st.sampled_from([*NAMES, ZERO_ADDRESS]),
    amount=st.sampled_from([0, 1, 7, 400, 991, 1_000, UINT256_MAX]) | st.integers(0, 1_500),
    fee=st.sampled_from([0, 9, 10, 11, 300, 1_001, UINT256_MAX]),
    valid_until=st.sampled_from([0, START_MS, START_MS + 2_000, START_MS + 60_000]),
    memo=st.sampled_from([b"", bytes(64), bytes(65)]),
    nonce_off=st.sampled_from([0, 0, 0, 0, 1, -1]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(inclusions, max_size=6), max_size=4))
def test_no_money_is_made_or_lost_and_nobody_pays_twice(blocks: list[list[dict[str, object]]]) -> None:
    chain = make_chain()
    nonces = dict.fromkeys(NAMES, 0)
    supply = money(chain.state)
    executed: set[bytes] = set()
    for block in blocks:
        transactions = []
        for wanted in block:
            entry = dict(wanted)
            sender = str(entry["sender"])
            nonce = max(0, nonces[sender] + int(str(entry.pop("nonce_off"))))
            transactions.append(chain.transfer(nonce=nonce, **entry))  # type: ignore[arg-type]
            nonces[sender] += 1
        before = {name: account(chain, name) for name in NAMES}
        result = chain.run(*transactions)
        paid = dict.fromkeys(NAMES, 0)
        for transaction, receipt in zip(transactions, result.receipts, strict=True):
            assert uint(receipt.fee) == (0 if receipt.status == "skipped" else transaction.fee)
            assert (receipt.code == "") == (receipt.status == "ok")
            assert len(receipt.events) == (receipt.status == "ok")
            if receipt.status != "skipped":
                assert transaction.id not in executed
                executed.add(transaction.id)
                paid[next(name for name in NAMES if key(name).address == transaction.sender)] += 1
        assert money(chain.state) == supply
        for name in NAMES:
            nonces[name] = account(chain, name)[0]
            assert nonces[name] == before[name][0] + paid[name]


# Applications


class Note(TransactionBody, frozen=True):
    """Writes some records, then may refuse."""

    text: Text
    refuse: Uint64


class Noted(EventData, frozen=True):
    text: Text


class Ended(EventData, frozen=True):
    height: Uint64


class Notes:
    """An application with end-of-block work, and writes that must be rolled back."""

    name = "notes"
    body_types: tuple[type[TransactionBody], ...] = (Note,)
    event_types: tuple[type[EventData], ...] = (Noted, Ended)

    def genesis_records(self, genesis: Genesis) -> Iterable[tuple[bytes, bytes]]:
        yield b"notes/first", b"first"
        yield b"notes/gone", b"gone"

    def check(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> None:
        """Anything goes."""

    def is_duty(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> bool:
        body = transaction.body
        assert isinstance(body, Note)
        return body.text == "duty"

    def execute(self, transaction: Transaction, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        body = transaction.body
        assert isinstance(body, Note)
        state.put(b"notes/first", body.text.encode())
        state.remove(b"notes/gone")
        state.remove(b"notes/never")
        state.put(b"notes/new", b"%d" % context.block_time_ms)
        state.put(b"notes/new", b"twice")
        if body.refuse:
            raise TransactionFailed("refused", "it was asked to")
        return (Noted(body.text), Noted(body.text))

    def end_block(self, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        state.put(b"notes/treasury", b"%d" % treasury_balance(state))
        return (Ended(context.height),)


def note(chain: Chain, text: str, refuse: int = 0, nonce: int = 0) -> Transaction:
    body = Note(key("alice").address, nonce, uint256(10), 0, text, refuse)
    return chain.executor.types.sign(body, key("alice"))


def notes_chain() -> Chain:
    return Chain(make_genesis(BALANCES), (AccountsApplication(), Notes()))


def test_a_duty_takes_its_place_for_any_fee_and_nothing_else_does() -> None:
    chain = notes_chain()
    alice = key("alice")
    free = chain.executor.types.sign(Note(alice.address, 0, uint256(0), 0, "duty", 0), alice)
    cheap = chain.executor.types.sign(Note(alice.address, 1, uint256(3), 0, "duty", 1), alice)
    other = chain.executor.types.sign(Note(alice.address, 2, uint256(9), 0, "no duty", 0), alice)
    block = chain.run(free, cheap, other, chain.transfer("bob", "carol", 1, fee=0))
    assert outcomes(block) == [
        ("ok", "", 0),
        ("failed", "refused", 3),
        ("skipped", "insufficient_fee", 0),
        ("skipped", "insufficient_fee", 0),
    ]
    assert account(chain, "alice") == (2, 997)
    epoch, now_ms = chain.epoch, chain.tip.block_time_ms
    chain.executor.check(free, chain.state, epoch, now_ms)
    with pytest.raises(InvalidTransaction, match="insufficient_fee"):
        chain.executor.check(other, chain.state, epoch, now_ms)


def test_a_refused_body_is_rolled_back_whole_and_only_it() -> None:
    chain = notes_chain()
    block = chain.run(note(chain, "x", refuse=1))
    assert outcomes(block) == [("failed", "refused", 10)]
    assert chain.state.get(b"notes/first") == b"first"
    assert chain.state.get(b"notes/gone") == b"gone"
    assert chain.state.get(b"notes/new") is None
    assert account(chain, "alice") == (1, 990)


def test_a_refusal_does_not_undo_what_an_earlier_transaction_wrote() -> None:
    chain = notes_chain()
    block = chain.run(note(chain, "kept"), note(chain, "lost", refuse=1, nonce=1))
    assert [status for status, _, _ in outcomes(block)] == ["ok", "failed"]
    assert chain.state.get(b"notes/first") == b"kept"
    assert chain.state.get(b"notes/gone") is None
    assert StateChange(b"notes/gone", None) in block.changes


def test_end_of_block_sees_the_fees_and_speaks_in_every_block() -> None:
    chain = notes_chain()
    block = chain.run(note(chain, "hello"))
    assert chain.state.get(b"notes/treasury") == b"10"
    assert [event.kind for event in block.end_events] == ["Ended"]
    assert decode(Ended, block.end_events[0].data) == Ended(1)
    assert [decode(Noted, event.data).text for event in block.receipts[0].events] == ["hello", "hello"]
    assert block.header.events_root == merkle.root(event_leaves(block.receipts, block.end_events))
    empty = chain.run_null()
    assert decode(Ended, empty.end_events[0].data) == Ended(2)
    assert empty.changes == ()


def test_two_applications_with_one_kind_or_event_or_record_are_refused() -> None:
    genesis = make_genesis()

    class Kind(Notes):
        name = "kind"
        event_types: tuple[type[EventData], ...] = ()

    class Speech(Notes):
        name = "speech"
        body_types: tuple[type[TransactionBody], ...] = ()

    class Records(Notes):
        name = "records"
        body_types: tuple[type[TransactionBody], ...] = ()
        event_types: tuple[type[EventData], ...] = ()

    with pytest.raises(PluginError, match="kind 'Note' is declared by the applications 'notes' and 'kind'"):
        Executor(genesis, (Notes(), Kind()))
    with pytest.raises(PluginError, match="event 'Noted' is declared by the applications 'notes' and 'speech'"):
        Executor(genesis, (Notes(), Speech()))
    with pytest.raises(PluginError, match="application 'records' writes record b'notes/first'"):
        list(Executor(genesis, (Notes(), Records())).genesis_records())


def test_kinds_and_events_are_known_by_name() -> None:
    executor = Executor(make_genesis(), (AccountsApplication(), Notes()))
    assert list(executor.types.kinds) == ["Transfer", "Note"]
    core = ["EpochPlanned", "EpochEnded", "EndBlockFailed"]
    assert list(executor.event_types) == [*core, "Transferred", "Noted", "Ended"]
    assert executor.types.genesis_hash == executor.genesis.hash


def test_an_undeclared_event_is_a_bug() -> None:
    class Silent(Notes):
        event_types: tuple[type[EventData], ...] = ()

    chain = Chain(make_genesis(BALANCES), (Silent(),))
    with pytest.raises(AssertionError, match="event Ended is not among"):
        chain.run()


# The working state


def test_the_working_state_reports_only_differences() -> None:
    state = AuthenticatedState.from_records([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])
    working = WorkingState(state)
    working.put(b"c", b"4")
    working.put(b"c", b"3")
    working.put(b"d", b"5")
    working.remove(b"d")
    working.remove(b"a")
    working.put(b"b", b"9")
    assert working.changes() == (StateChange(b"a", None), StateChange(b"b", b"9"))
    assert state.get(b"a") == b"1", "the reader is left alone"


writes = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.binary(max_size=1)), max_size=8)


@given(writes, writes, writes)
def test_a_rollback_restores_and_savepoints_nest(
    first: list[tuple[bytes, bytes | None]],
    second: list[tuple[bytes, bytes | None]],
    third: list[tuple[bytes, bytes | None]],
) -> None:
    working = WorkingState(AuthenticatedState.from_records([(b"a", b"0")]))

    def write(entries: list[tuple[bytes, bytes | None]]) -> None:
        for name, value in entries:
            if value is None:
                working.remove(name)
            else:
                working.put(name, value)

    def seen() -> list[bytes | None]:
        return [working.get(name) for name in (b"a", b"b", b"c")]

    write(first)
    outer, after_first = working.savepoint(), seen()
    write(second)
    inner, after_second = working.savepoint(), seen()
    write(third)
    working.rollback(inner)
    assert seen() == after_second
    working.rollback(outer)
    assert seen() == after_first
