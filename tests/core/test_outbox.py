"""Durable before sent: nothing of a step, or of a later one, leaves before what the step persists is durable."""

from hypothesis import given
from hypothesis import strategies as st

from potchain.consensus.interface import Record
from potchain.primitives import Digest, uint256
from potchain.replica.actions import Notice, Persist, ReplicaAction
from potchain.replica.outbox import Outbox
from potchain.transactions import Transaction, Transfer


def record(number: int) -> Record:
    return Record("test", 0, number, b"")


def line(text: str) -> Notice:
    """Stands for anything that leaves."""
    return Notice("info", text)


def body(number: int) -> Transaction:
    transfer = Transfer(bytes(20), number, uint256(1), 0, bytes(20), uint256(1), b"")
    digest = Digest(number.to_bytes(32, "big"))
    return Transaction(digest, "Transfer", transfer, b"", b"", bytes(20), number, 1, 0)


def texts(actions: list[ReplicaAction]) -> list[str]:
    return [action.text for action in actions if isinstance(action, Notice)]


def tokens(actions: list[ReplicaAction]) -> list[int]:
    return [action.token for action in actions if isinstance(action, Persist)]


def test_without_anything_to_persist_all_leaves_at_once_and_in_order() -> None:
    outbox = Outbox()
    outbox.then(line("a"))
    outbox.then(line("b"))
    assert texts(outbox.drain()) == ["a", "b"]
    assert outbox.drain() == []


def test_a_step_waits_for_its_batch_whatever_came_first_in_it() -> None:
    outbox = Outbox()
    outbox.then(line("before"))
    outbox.persist(records=(record(1),))
    outbox.then(line("after"))
    outbox.now(line("timer"))
    actions = outbox.drain()
    assert tokens(actions) == [1]
    assert texts(actions) == ["timer"]
    assert outbox.held == 1
    outbox.persisted(1)
    assert texts(outbox.drain()) == ["before", "after"]
    assert outbox.held == 0


def test_a_later_step_does_not_overtake_one_that_waits() -> None:
    outbox = Outbox()
    outbox.persist(records=(record(1),))
    outbox.then(line("first"))
    outbox.drain()
    outbox.then(line("second"))
    assert outbox.drain() == []
    outbox.persist(records=(record(2),))
    outbox.then(line("third"))
    assert tokens(outbox.drain()) == [2]
    outbox.persisted(1)
    assert texts(outbox.drain()) == ["first", "second"]
    outbox.persisted(2)
    assert texts(outbox.drain()) == ["third"]


def test_one_report_covers_all_tokens_up_to_it() -> None:
    outbox = Outbox()
    for number in (1, 2, 3):
        outbox.persist(records=(record(number),))
        outbox.then(line(str(number)))
        outbox.drain()
    outbox.persisted(2)
    assert texts(outbox.drain()) == ["1", "2"]
    outbox.persisted(3)
    assert texts(outbox.drain()) == ["3"]


def test_a_continuation_may_persist_and_hold_more() -> None:
    outbox = Outbox()

    def go_on() -> None:
        outbox.persist(records=(record(2),))
        outbox.then(line("reaction"))

    outbox.persist(records=(record(1),))
    outbox.then(line("vote"))
    outbox.then(go_on)
    outbox.drain()
    outbox.persisted(1)
    actions = outbox.drain()
    assert texts(actions) == ["vote"]
    assert tokens(actions) == [2]
    outbox.persisted(2)
    assert texts(outbox.drain()) == ["reaction"]


def test_a_continuation_that_waits_for_nothing_runs_at_the_end_of_its_step() -> None:
    outbox = Outbox()
    outbox.then(lambda: outbox.then(lambda: outbox.then(line("deep"))))
    assert texts(outbox.drain()) == ["deep"]


def test_bodies_in_company_wait_for_the_next_batch() -> None:
    outbox = Outbox()
    outbox.persist_in_company((body(1), body(2)))
    outbox.then(line("free"))
    assert texts(outbox.drain()) == ["free"], "nobody was promised anything, so nothing waits"
    outbox.persist(records=(record(1),))
    (persist,) = outbox.drain()
    assert isinstance(persist, Persist)
    assert [each.nonce for each in persist.batch.bodies] == [1, 2]
    outbox.flush()
    assert outbox.drain() == []


def test_flush_ends_the_wait_for_company() -> None:
    outbox = Outbox()
    outbox.persist_in_company((body(1),))
    outbox.drain()
    outbox.flush()
    (persist,) = outbox.drain()
    assert isinstance(persist, Persist)
    assert [each.nonce for each in persist.batch.bodies] == [1]


STEPS = st.lists(st.lists(st.sampled_from(["persist", "send", "nested", "company"]), max_size=5), max_size=12)


@given(steps=STEPS, reports=st.lists(st.integers(0, 12), max_size=12))
def test_random_steps_keep_the_rule(steps: list[list[str]], reports: list[int]) -> None:
    """A mark sent in step k leaves only when every batch of steps up to k is durable, in the order of the marks."""
    outbox = Outbox()
    batches: dict[int, int] = {}  # token to step
    durable = 0
    left: list[tuple[int, int]] = []
    sent = 0

    def drained(step: int) -> None:
        for action in outbox.drain():
            if isinstance(action, Persist):
                assert action.token == len(batches) + 1
                batches[action.token] = step
            else:
                assert isinstance(action, Notice)
                origin, number = map(int, action.text.split())
                assert all(token <= durable for token, of in batches.items() if of <= origin), action.text
                left.append((origin, number))

    queue = list(reports)
    for step, parts in enumerate(steps):
        for part in parts:
            if part == "persist":
                outbox.persist(records=(record(step),))
            elif part == "send":
                outbox.then(line(f"{step} {sent}"))
                sent += 1
            elif part == "nested":
                outbox.then(lambda: outbox.persist(records=(record(0),)))
            else:
                outbox.persist_in_company((body(step),))
        drained(step)
        if queue:
            durable = max(durable, min(queue.pop(0), len(batches)))
            outbox.persisted(durable)
            drained(1_000)
    while outbox.held:
        durable = len(batches)
        outbox.persisted(durable)
        drained(1_000)
    assert [number for _, number in left] == list(range(sent))
