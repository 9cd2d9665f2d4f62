"""The pure part of the settler, a situation at a time: what the two sides say, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from settler_world import key_of

from potchain.codec import encode
from potchain.crypto import keccak256
from potchain.primitives import NS_PER_S, ZERO_ADDRESS, uint256
from potchain.replica.actions import Now
from potchain.settlement import (
    Action,
    ChainView,
    Contract,
    ContractState,
    DepositSeen,
    Entry,
    Layer2Event,
    Owners,
    Prepared,
    RelayState,
)
from potchain.settlement.digests import action_digest
from potchain.settlement.report import ActionReport
from potchain.settler.duties import hash_of
from potchain.settler.lost import MINED_MAX
from potchain.settler.memory import BACKOFF_MAX_NS, Fault, Memory, Sight, backoff_ns
from potchain.settler.reconcile import Outcome, SettlerOptions, reconcile
from potchain.settler.relaying import ATTEMPTS_MAX, RELAY_AHEAD_MAX, RelayOptions, turn_of
from potchain.settler.slots import slots_of
from potchain.settler.steps import Forget, Prepare, Sign, Step, Submit, Vote
from potchain.settler.view import LedgerAction, LedgerView

KEYS = sorted((key_of(f"operator{index}") for index in range(4)), key=lambda key: key.address)
OPERATORS = tuple(key.address for key in KEYS)
ME = OPERATORS[0]
RELAY = key_of("relay").address
CONTRACT = Contract("multisig", 31_337, keccak256(b"contract")[12:], ZERO_ADDRESS, 0, 0)
OWNERS = Owners(0, OPERATORS, 3)
TURN_NS = 30 * NS_PER_S
STUCK_NS = 60 * NS_PER_S
OPTIONS = SettlerOptions(
    relay=RelayOptions(account=RELAY, confirmations=3, turn_ns=TURN_NS, stuck_after_ns=STUCK_NS)
)


def now(seconds: int = 0) -> Now:
    return Now(seconds * NS_PER_S, 1_700_000_000_000 + 1_000 * seconds)


def entry(nonce: int = 0, *, signed: bool = True, by: int = 3, height: int = 1, **members: object) -> LedgerAction:
    """An action of 10 base units, signed by the first `by` operators."""
    entries = (Entry(key_of("payee").address, uint256(10)),) if members.get("kind", "batch") == "batch" else ()
    action = Action(**{"nonce": nonce, "epoch": 0, "kind": "batch", "height": height, "entries": entries, **members})
    digest = action_digest(CONTRACT, action)
    signatures = tuple((key.address, key.sign_digest(digest)) for key in KEYS[:by])
    return LedgerAction(
        action=action, digest=digest, is_signed=signed, owners=OWNERS, signatures=signatures, total=action.total
    )


def ledger(*actions: LedgerAction, **members: object) -> LedgerView:
    view = LedgerView(
        certified_height=10,
        contract=CONTRACT,
        owners=(OWNERS,),
        next_action=actions[-1].action.nonce + 1 if actions else 0,
        actions=actions,
        operator=ME,
        operators=OPERATORS,
    )
    return msgspec.structs.replace(view, **members)


def event(nonce: int, block: int = 5, amount: int = 7) -> Layer2Event:
    return Layer2Event(
        event_nonce=nonce,
        kind="deposit",
        payload=encode(DepositSeen(key_of("payer").address, uint256(amount))),
        block_number=block,
        block_hash=keccak256(b"block%d" % block),
        transaction_hash=keccak256(b"tx%d/%d" % (nonce, amount)),
        log_index=0,
    )



THEN = ledger()
"""Stands for the ledger of the moment: `settle` puts it in."""


def sight(
    *events: Layer2Event,
    relays: dict[bytes, RelayState] | None = None,
    first: int = 0,
    relay_ahead: int = 4,
    head: int = 20,
    **contract: object,
) -> Sight:
    state = ContractState(
        next_nonce=0,
        next_event_nonce=max((each.event_nonce + 1 for each in events), default=0),
        epoch=0,
        threshold=3,
        owners=OPERATORS,
        deposited=1_000,
        allocated=0,
        paused=False,
    )
    chain = ChainView(
        chain_id=CONTRACT.chain_id,
        head_number=head,
        head_hash=keccak256(b"block%d" % head),
        head_time_s=1_700_000_000,
        confirmed_number=head - 3,
        contract=msgspec.structs.replace(state, **contract),
        events=events,
    )
    return Sight(since=THEN, chain=chain, relays=relays or {}, first=first, relay_ahead=relay_ahead)


def prepared(nonce: int = 0, account_nonce: int = 0, attempt: int = 0, **members: object) -> Prepared:
    made = Prepared(
        action_nonce=nonce,
        attempt=attempt,
        account=RELAY,
        account_nonce=account_nonce,
        transaction_hash=keccak256(b"%d/%d/%d" % (nonce, account_nonce, attempt)),
        raw=b"raw",
        fee_per_gas_wei=10 + attempt,
        prepared_ms=attempt,
    )
    return msgspec.structs.replace(made, **members)


def state_of(*pairs: tuple[Prepared, str | RelayState]) -> dict[bytes, RelayState]:
    return {
        each.transaction_hash: state if isinstance(state, RelayState) else RelayState(phase=state)
        for each, state in pairs
    }


def settle(
    view: LedgerView,
    seen: Sight | Fault | None,
    *intents: Prepared,
    at: int = 0,
    memory: Memory | None = None,
    options: SettlerOptions = OPTIONS,
) -> Outcome:
    if isinstance(seen, Sight) and seen.since is THEN:
        seen = msgspec.structs.replace(seen, since=view)
    return reconcile(view, seen, intents, now(at), options, memory or Memory())


def of_kind(steps: tuple[Step, ...], kind: type[Step]) -> list[Step]:
    return [step for step in steps if isinstance(step, kind)]


def only(outcome: Outcome) -> ActionReport:
    assert len(outcome.report.actions) == 1
    return outcome.report.actions[0]


# --- signing ----------------------------------------------------------------------------------------------------------


def test_signs_what_is_certified_and_unsigned_even_without_a_chain() -> None:
    view = ledger(entry(signed=False, by=0))
    for seen in (None, Fault("unreachable", "dead"), sight()):
        steps = of_kind(settle(view, seen).steps, Sign)
        assert steps == [Sign(action_nonce=0, digest=view.actions[0].digest)]


@pytest.mark.parametrize(
    ("view", "phase"),
    [
        (ledger(entry(signed=False, by=0, height=11)), "uncertified"),
        (ledger(entry(signed=False, by=1)), "collecting"),
        (ledger(entry(signed=False, by=0), operator=key_of("stranger").address), "collecting"),
        (ledger(entry(signed=False, by=0), operator=b""), "collecting"),
        (ledger(entry(signed=True)), "sending"),
    ],
)
def test_does_not_sign(view: LedgerView, phase: str) -> None:
    outcome = settle(view, sight())
    assert not of_kind(outcome.steps, Sign)
    assert only(outcome).phase == phase


def test_does_not_sign_another_digest_than_its_own() -> None:
    wrong = msgspec.structs.replace(entry(signed=False, by=0), digest=bytes(32))
    outcome = settle(ledger(wrong), sight())
    assert not outcome.steps
    assert outcome.report.fault
    assert outcome.report.fault.code == "digest_differs"


def test_a_signature_on_its_way_is_not_sent_again_until_it_is_lost() -> None:
    view = ledger(entry(signed=False, by=0), account_nonce=4, next_nonce=4)
    step = settle(view, sight()).steps[0]
    assert isinstance(step, Sign)
    memory = Memory().sent_at(("sign", 0, step.digest), 4)
    assert settle(msgspec.structs.replace(view, next_nonce=5), sight(), memory=memory).steps == ()
    assert settle(view, sight(), memory=memory).steps == (step,)  # fell out of the pool
    executed = msgspec.structs.replace(view, account_nonce=5, next_nonce=5)
    assert settle(executed, sight(), memory=memory).steps == (step,)  # executed, and not seen in the state


# --- voting -----------------------------------------------------------------------------------------------------------


def test_votes_on_confirmed_events_in_order() -> None:
    steps = settle(ledger(), sight(event(0), event(1))).steps
    assert [step.event.event_nonce for step in steps if isinstance(step, Vote)] == [0, 1]


def test_votes_again_when_the_event_changed() -> None:
    said = ((0, hash_of(event(0))), (1, hash_of(event(1))))
    moved = event(1, block=6)
    steps = settle(ledger(votes=said), sight(event(0), moved)).steps
    assert steps == (Vote(event=moved),)


def test_a_vote_on_its_way_is_not_sent_again() -> None:
    memory = Memory().sent_at(("vote", 0, hash_of(event(0))), 4)
    pooled = ledger(account_nonce=4, next_nonce=5)
    assert settle(pooled, sight(event(0)), memory=memory).steps == ()
    changed = event(0, block=6)
    assert settle(pooled, sight(changed), memory=memory).steps == (Vote(event=changed),)


@pytest.mark.parametrize(
    "view",
    [
        ledger(operator=b""),
        ledger(operator=key_of("stranger").address),
        ledger(next_event=2),
        ledger(votes=((0, hash_of(event(0))), (1, hash_of(event(1))))),
        ledger(is_behind=True),
    ],
)
def test_does_not_vote(view: LedgerView) -> None:
    assert not of_kind(settle(view, sight(event(0), event(1))).steps, Vote)


def test_votes_only_on_what_the_ledger_takes() -> None:
    steps = settle(ledger(next_event=1, votes_max=2), sight(*(event(nonce) for nonce in range(6)))).steps
    assert [step.event.event_nonce for step in steps if isinstance(step, Vote)] == [1, 2]


def test_owners_that_differ_do_not_stop_votes() -> None:
    outcome = settle(ledger(), sight(event(0), threshold=1))
    assert of_kind(outcome.steps, Vote)
    assert outcome.report.fault
    assert outcome.report.fault.code == "owners_differ"


# --- whose turn -------------------------------------------------------------------------------------------------------


def test_turns_go_round_by_groups_and_by_time() -> None:
    assert [turn_of(OPERATORS, nonce, 0, TURN_NS) for nonce in (0, RELAY_AHEAD_MAX - 1)] == [ME, ME]
    assert turn_of(OPERATORS, RELAY_AHEAD_MAX, 0, TURN_NS) == OPERATORS[1]
    assert turn_of(OPERATORS, 0, TURN_NS, TURN_NS) == OPERATORS[1]
    assert turn_of(OPERATORS, 0, 4 * TURN_NS, TURN_NS) == ME
    assert turn_of((), 0, 0, TURN_NS) == b""


@pytest.mark.parametrize("index", range(4))
def test_each_operator_relays_in_its_turn(index: int) -> None:
    view, memory = ledger(entry(), operator=OPERATORS[index]), Memory()
    for turn in range(4):
        outcome = settle(view, sight(), at=turn * 30, memory=memory)
        memory = outcome.memory
        assert bool(of_kind(outcome.steps, Prepare)) == (turn == index)
        assert only(outcome).turn == OPERATORS[turn]
        assert only(outcome).phase == ("sending" if turn == index else "turn")


def test_an_outsider_waits_until_everybody_had_a_turn() -> None:
    view, memory = ledger(entry(), operator=b""), Memory()
    taken = []
    for turn in range(6):
        outcome = settle(view, sight(), at=turn * 30, memory=memory)
        memory = outcome.memory
        taken.append(bool(outcome.steps))
    assert taken == [False, False, False, False, True, True]
    assert outcome.report.state == "observing"


def test_without_a_relay_key_nothing_is_relayed() -> None:
    outcome = settle(ledger(entry()), sight(), options=SettlerOptions())
    assert not outcome.steps
    assert (only(outcome).phase, only(outcome).code) == ("blocked", "not_configured")


# --- preparing --------------------------------------------------------------------------------------------------------


def test_prepares_as_many_in_a_row_as_the_back_end_can() -> None:
    view = ledger(*(entry(nonce) for nonce in range(6)))
    steps = of_kind(settle(view, sight()).steps, Prepare)
    assert [step.ready.action.nonce for step in steps] == [0, 1, 2, 3]
    steps = of_kind(settle(view, sight(relay_ahead=1)).steps, Prepare)
    assert [step.ready.action.nonce for step in steps] == [0]
    ready = steps[0].ready
    assert ready.signatures == view.actions[0].signatures
    assert len(ready.signatures) == OWNERS.threshold


def test_nothing_is_prepared_from_an_old_look() -> None:
    first = settle(ledger(entry()), sight())
    assert of_kind(first.steps, Prepare)
    again = settle(ledger(entry()), None, memory=first.memory)
    assert again.steps == ()
    assert only(again).phase == "sending"


def test_an_unsigned_action_holds_up_those_after_it() -> None:
    outcome = settle(ledger(entry(0, signed=False, by=1), entry(1)), sight())
    assert not of_kind(outcome.steps, Prepare)
    assert [action.phase for action in outcome.report.actions] == ["collecting", "ordered"]


def test_goes_ahead_only_behind_its_own() -> None:
    """Somebody else has the first one under way, for all we know: the second would be refused."""
    view, memory = ledger(entry(0), entry(1)), Memory(relayable_ns={0: -TURN_NS, 1: 0})
    outcome = settle(view, sight(), memory=memory)
    assert not of_kind(outcome.steps, Prepare)
    assert [action.phase for action in outcome.report.actions] == ["turn", "ordered"]


@pytest.mark.parametrize(
    ("contract", "code"),
    [({"paused": True}, "paused"), ({"deposited": 9}, "underfunded"), ({"allocated": 991}, "underfunded")],
)
def test_what_cannot_be_done_now_is_said_without_asking(contract: dict[str, object], code: str) -> None:
    outcome = settle(ledger(entry()), sight(**contract))
    assert not outcome.steps
    assert (only(outcome).phase, only(outcome).code) == ("blocked", code)
    assert outcome.report.state == "waiting"


def test_the_money_is_counted_over_all_that_is_under_way() -> None:
    outcome = settle(ledger(entry(0), entry(1)), sight(deposited=19))
    assert [step.ready.action.nonce for step in of_kind(outcome.steps, Prepare)] == [0]
    assert outcome.report.actions[1].code == "underfunded"


def test_rotations_and_pauses_go_while_the_contract_is_paused() -> None:
    outcome = settle(ledger(entry(kind="pause", paused=False)), sight(paused=True, deposited=0))
    assert of_kind(outcome.steps, Prepare)


def test_a_failure_backs_off_and_ends_early_when_the_contract_changes() -> None:
    view = ledger(entry())
    memory = settle(view, sight()).memory.failed(0, Fault("gas_too_dear", "spike"), 0)
    waits = settle(view, sight(), memory=memory)
    assert not waits.steps
    assert (only(waits).phase, only(waits).code, only(waits).retry_in_ms) == ("blocked", "gas_too_dear", 1_000)
    assert of_kind(settle(view, sight(), at=1, memory=memory).steps, Prepare)
    assert of_kind(settle(view, sight(deposited=1_001), memory=memory).steps, Prepare)
    for _ in range(20):
        memory = memory.failed(0, Fault("gas_too_dear", "spike"), 0)
    assert memory.failures[0].retry_ns == BACKOFF_MAX_NS
    assert memory.failed(0, Fault("empty_wallet", "0 wei"), 0).failures[0].count == 1


def test_backoff_has_a_cap() -> None:
    assert [backoff_ns(count) for count in (1, 2, 3)] == [NS_PER_S, 2 * NS_PER_S, 4 * NS_PER_S]
    assert backoff_ns(10_000) == BACKOFF_MAX_NS


# --- following --------------------------------------------------------------------------------------------------------

ONE = prepared()


@pytest.mark.parametrize(
    ("state", "view", "phase", "steps"),
    [
        ("pending", ledger(entry()), "pending", ()),
        ("mined", ledger(entry()), "mined", ()),
        ("unknown", ledger(entry()), "dropped", (Submit(prepared=ONE),)),
    ],
)
def test_a_transaction_under_way(state: str, view: LedgerView, phase: str, steps: tuple[Step, ...]) -> None:
    outcome = settle(view, sight(relays=state_of((ONE, state))), ONE)
    assert outcome.steps == steps
    assert only(outcome).phase == phase
    assert only(outcome).transaction_hash == ONE.transaction_hash


def test_what_was_just_sent_may_take_a_moment_to_show() -> None:
    memory = settle(ledger(entry()), sight()).memory.submitted(ONE.transaction_hash, 0)
    unknown = sight(relays=state_of((ONE, "unknown")))
    early = settle(ledger(entry()), unknown, ONE, at=1, memory=memory)
    assert (early.steps, only(early).phase) == ((), "sending")
    assert settle(ledger(entry()), unknown, ONE, at=2, memory=memory).steps == (Submit(prepared=ONE),)


def test_nothing_new_beside_a_hole() -> None:
    """The first is lost: the second would get its account nonce, or one that nothing leads up to."""
    outcome = settle(ledger(entry(0), entry(1)), sight(relays=state_of((ONE, "unknown"))), ONE)
    assert outcome.steps == (Submit(prepared=ONE),)


def test_refused_by_the_contract_is_told_waited_for_and_prepared_anew() -> None:
    relays = state_of((ONE, RelayState(phase="reverted", confirmations=1, detail="EnforcedPause()")))
    first = settle(ledger(entry()), sight(relays=relays), ONE)
    assert not first.steps
    assert (only(first).phase, only(first).code, only(first).text) == ("reverted", "reverted", "EnforcedPause()")
    again = settle(ledger(entry()), sight(relays=relays), ONE, at=1, memory=first.memory)
    assert [type(step) for step in again.steps] == [Prepare]
    assert again.memory.failures[0].count == 1  # one refusal, however often it is seen
    deep = state_of((ONE, RelayState(phase="reverted", confirmations=3)))
    assert settle(ledger(entry()), sight(relays=deep), ONE, memory=first.memory).steps[0] == Forget(
        prepared=ONE, reason="refused by the contract, and confirmed"
    )


def test_an_account_nonce_that_a_stranger_used_up() -> None:
    outcome = settle(ledger(entry()), sight(relays=state_of((ONE, "replaced"))), ONE)
    assert [type(step) for step in outcome.steps] == [Forget, Prepare]


def stuck(*intents: Prepared, view: LedgerView, state: str = "pending", head: int = 21, **more: object) -> Outcome:
    """Followed for as long as it takes to count as stuck."""
    relays = state_of(*((each, state) for each in intents))
    memory = settle(view, sight(relays=relays, **more), *intents).memory
    return settle(view, sight(relays=relays, head=head, **more), *intents, at=60, memory=memory)


@pytest.mark.parametrize("state", ["pending", "unknown"])
def test_a_stuck_transaction_is_replaced_in_its_place(state: str) -> None:
    view = ledger(entry())
    outcome = stuck(ONE, view=view, state=state)
    assert len(outcome.steps) == 1
    step = outcome.steps[0]
    assert isinstance(step, Prepare)
    assert step.replaces == ONE


def test_a_chain_without_blocks_has_no_stuck_transactions() -> None:
    assert stuck(ONE, view=ledger(entry()), head=20).steps == ()


def test_replacements_have_an_end() -> None:
    attempts = tuple(prepared(attempt=number) for number in range(ATTEMPTS_MAX))
    assert stuck(*attempts, view=ledger(entry())).steps == ()


def test_only_the_lowest_account_nonce_is_worth_a_replacement() -> None:
    outcome = stuck(ONE, prepared(1, 1), view=ledger(entry(0), entry(1)))
    assert [step.replaces for step in outcome.steps if isinstance(step, Prepare)] == [ONE]


def test_a_former_relay_key_does_not_block_for_good() -> None:
    old = prepared(account=key_of("former").address)
    relays = state_of((old, "pending"))
    first = settle(ledger(entry()), sight(relays=relays), old)
    assert not first.steps
    later = settle(ledger(entry(), operator=ME), sight(relays=relays), old, at=4 * 30, memory=first.memory)
    assert [step.replaces for step in later.steps if isinstance(step, Prepare)] == [None]


# --- when another was faster ------------------------------------------------------------------------------------------


def test_executed_on_the_chain_and_not_yet_for_the_ledger() -> None:
    mine = settle(ledger(entry()), sight(next_nonce=1, relays=state_of((ONE, "mined"))), ONE)
    assert (mine.steps, only(mine).phase) == ((), "mined")
    other = settle(ledger(entry()), sight(next_nonce=1, relays=state_of((ONE, "pending"))), ONE)
    assert (other.steps, only(other).phase) == ((), "executed")


@pytest.mark.parametrize(
    ("state", "steps"), [("mined", 1), ("reverted", 1), ("replaced", 1), ("unknown", 1), ("pending", 0)]
)
def test_forgets_when_the_ledger_has_the_receipt_and_the_account_nonce_is_free_or_used(state: str, steps: int) -> None:
    outcome = settle(ledger(next_action=1), sight(next_nonce=1, relays=state_of((ONE, state))), ONE)
    assert [type(step) for step in outcome.steps] == [Forget] * steps


def test_the_next_action_takes_the_place_of_a_transaction_that_came_too_late() -> None:
    view = ledger(entry(1))
    outcome = settle(view, sight(next_nonce=1, relays=state_of((ONE, "pending"))), ONE)
    assert [step.replaces for step in outcome.steps if isinstance(step, Prepare)] == [ONE]


def test_a_hole_below_others_is_filled_although_nobody_wants_it() -> None:
    late, next_one = prepared(0, 0), prepared(1, 1)
    relays = state_of((late, "unknown"), (next_one, "pending"))
    outcome = settle(ledger(entry(1)), sight(next_nonce=1, relays=relays), late, next_one)
    assert outcome.steps == (Submit(prepared=late),)


def test_a_stuck_leftover_gives_its_place_to_the_oldest_action() -> None:
    late, next_one = prepared(0, 0), prepared(1, 1)
    outcome = stuck(late, next_one, view=ledger(entry(1)), next_nonce=1)
    steps = of_kind(outcome.steps, Prepare)
    assert [(step.ready.action.nonce, step.replaces) for step in steps] == [(1, late)]


def test_a_slot_is_judged_by_all_its_attempts() -> None:
    first, second = prepared(attempt=0), prepared(attempt=1)
    cases: list[tuple[str, str, str]] = [
        ("pending", "unknown", "pending"),
        ("unknown", "unknown", "unknown"),
        ("replaced", "mined", "mined"),
        ("reverted", "replaced", "reverted"),
        ("replaced", "replaced", "replaced"),
        ("replaced", "unknown", "pending"),
    ]
    for one, other, expected in cases:
        (slot,) = slots_of((second, first), state_of((first, one), (second, other)))
        assert (slot.state, slot.newest) == (expected, second)


# --- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (sight(owners=OPERATORS[:3]), "owners_differ"),
        (sight(threshold=2), "owners_differ"),
        (sight(epoch=1), "owners_differ"),
        (sight(next_nonce=3), "ledger_behind"),
        (Fault("disagreement", "two blocks 7"), "disagreement"),
    ],
)
def test_nothing_is_relayed_to_a_contract_that_does_not_fit(seen: Sight | Fault, code: str) -> None:
    outcome = settle(ledger(entry()), seen)
    assert not of_kind(outcome.steps, Prepare)
    assert outcome.report.fault
    assert (outcome.report.fault.code, outcome.report.state) == (code, "waiting")


def test_a_wrong_chain() -> None:
    seen = sight()
    wrong = msgspec.structs.replace(seen, chain=msgspec.structs.replace(seen.chain, chain_id=1))
    outcome = settle(ledger(entry()), wrong)
    assert outcome.report.fault
    assert outcome.report.fault.code == "wrong_chain"
    assert not outcome.steps


def test_the_owners_expected_are_those_of_the_action_that_comes_next() -> None:
    """Between a rotation's formation and its execution the contract has the old owners, and after it the new."""
    new = Owners(1, tuple(sorted(key_of(f"new{index}").address for index in range(4))), 3)
    rotation = entry(0, kind="rotate", owners=new.owners, threshold=3)
    view = ledger(rotation, owners=(OWNERS, new))
    assert settle(view, sight()).report.fault is None
    rotated = {"next_nonce": 1, "epoch": 1, "owners": new.owners}
    assert settle(view, sight(**rotated)).report.fault is None
    assert settle(view, sight(next_nonce=1)).report.fault is not None
    assert settle(view, sight(epoch=1, owners=new.owners)).report.fault is not None


def test_a_safe_has_no_epoch_of_its_own() -> None:
    safe = msgspec.structs.replace(CONTRACT, scheme="safe", safe=key_of("safe").address)
    outcome = settle(ledger(contract=safe), sight(epoch=7))
    assert outcome.report.fault is None


def test_a_fault_keeps_its_beginning() -> None:
    first = settle(ledger(), Fault("unreachable", "a"))
    then = settle(ledger(), Fault("unreachable", "b"), at=50, memory=first.memory)
    assert first.report.fault
    assert then.report.fault
    assert then.report.fault.since_ms == first.report.fault.since_ms
    assert then.report.fault.text == "b"
    other = settle(ledger(), Fault("lagging", "c"), at=60, memory=then.memory)
    assert other.report.fault
    assert other.report.fault.since_ms > first.report.fault.since_ms


@pytest.mark.parametrize(("count", "confirmed", "refused"), [(3, False, True), (3, True, False), (4, False, False)])
def test_real_value_needs_four_validators(count: int, confirmed: bool, refused: bool) -> None:
    real, unsigned = msgspec.structs.replace(CONTRACT, chain_id=56), entry(signed=False, by=0)
    unsigned = msgspec.structs.replace(unsigned, digest=action_digest(real, unsigned.action))
    view = ledger(unsigned, contract=real, operators=OPERATORS[:count])
    options = msgspec.structs.replace(OPTIONS, real_value_confirmed=confirmed)
    outcome = settle(view, Fault("unreachable", ""), options=options)
    assert outcome.report.fault
    assert outcome.report.fault.code == ("too_few_validators" if refused else "unreachable")
    assert bool(outcome.steps) != refused


# --- reorganisations --------------------------------------------------------------------------------------------------


def test_other_blocks_at_the_same_height_are_counted() -> None:
    first = settle(ledger(), sight())
    seen = sight()
    forked = msgspec.structs.replace(seen, chain=msgspec.structs.replace(seen.chain, head_hash=bytes(32)))
    then = settle(ledger(), forked, memory=first.memory)
    assert (first.report.reorgs, then.report.reorgs) == (0, 1)
    assert "block 20" in then.report.reorg_text
    again = settle(ledger(), forked, memory=then.memory)
    assert again.report.reorgs == 1


def test_a_confirmed_event_that_went_is_counted_once() -> None:
    first = settle(ledger(), sight(event(0), event(1)))
    then = settle(ledger(), sight(event(0)), memory=first.memory)
    assert then.report.reorgs == 1
    assert "confirmed event 1 of block 5 is gone" in then.report.reorg_text
    assert settle(ledger(), sight(event(0)), memory=then.memory).report.reorgs == 1


Beyond = Callable[[Memory], Outcome]


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (sight(next_event_nonce=1), "reorg_beyond_confirmations"),
        (sight(next_event_nonce=2, first=1), "reorg_beyond_confirmations"),
        (sight(event(1, amount=8), first=1), "reorg_beyond_confirmations"),
        (sight(next_event_nonce=1, head=4), "lagging"),
        (sight(next_event_nonce=2, first=1, head=7), "lagging"),
        (sight(event(1, block=6), first=1), ""),
        (sight(next_event_nonce=2, first=2), ""),
    ],
)
def test_what_the_ledger_has_applied_must_stay(seen: Sight, code: str) -> None:
    known = settle(ledger(), sight(event(0), event(1))).memory
    view = ledger(entry(), next_event=2, event_block=5)
    outcome = settle(view, seen, memory=known)
    assert (outcome.report.fault.code if outcome.report.fault else "") == code
    assert bool(of_kind(outcome.steps, Prepare)) == (not code)
    if code:
        assert not of_kind(outcome.steps, Vote)
        assert only(outcome).phase == "blocked"


@pytest.mark.parametrize(("head", "code"), [(4, "lagging"), (7, "lagging"), (8, "reorg_beyond_confirmations")])
def test_endpoints_that_are_not_as_far_as_the_ledger_are_only_behind(head: int, code: str) -> None:
    outcome = settle(ledger(next_event=1, event_block=5), sight(head=head))
    assert outcome.report.fault
    assert outcome.report.fault.code == code


def test_a_look_that_is_older_than_what_the_ledger_has_applied_since_is_no_reorganisation() -> None:
    """Others saw the event and voted for it while this node's look was under way."""
    before = ledger(entry(), next_event=1, event_block=5)
    known = settle(before, sight(event(0))).memory
    old = msgspec.structs.replace(sight(next_event_nonce=1, first=1), since=before)
    outcome = settle(ledger(entry(1), next_event=2, event_block=6), old, memory=known)
    assert outcome.report.fault is None


def test_an_executed_action_that_is_not_executed_any_more() -> None:
    outcome = settle(ledger(entry(1)), sight())
    assert outcome.report.fault
    assert outcome.report.fault.code == "reorg_beyond_confirmations"


def test_what_a_deep_reorganisation_took_back_is_sent_once_more() -> None:
    mined = settle(ledger(entry()), sight(relays=state_of((ONE, "mined"))), ONE)
    executed = ledger(entry(1), next_event=1)
    forgotten = settle(executed, sight(next_nonce=1, next_event_nonce=1), memory=mined.memory)
    assert not forgotten.steps or not of_kind(forgotten.steps, Submit)
    lost = settle(executed, sight(), memory=forgotten.memory)
    assert lost.report.fault
    assert lost.report.fault.code == "reorg_beyond_confirmations"
    assert of_kind(lost.steps, Submit) == [Submit(prepared=ONE)]
    assert not of_kind(lost.steps, Prepare)
    assert not of_kind(settle(executed, sight(), at=1, memory=lost.memory).steps, Submit), "not at every look"
    assert of_kind(settle(executed, sight(), at=6, memory=lost.memory).steps, Submit) == [Submit(prepared=ONE)]
    again = settle(executed, sight(next_nonce=1, next_event_nonce=1), at=6, memory=lost.memory)
    assert again.report.fault is None
    assert not of_kind(again.steps, Submit)


def test_only_so_many_executed_transactions_are_kept() -> None:
    memory = Memory()
    for nonce in range(MINED_MAX + 1):
        sent = prepared(nonce, account_nonce=nonce)
        seen = sight(relays=state_of((sent, "mined")), next_nonce=nonce)
        memory = settle(ledger(entry(nonce)), seen, sent, memory=memory).memory
    assert sorted(memory.mined) == list(range(1, MINED_MAX + 1))


# --- the report -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "seen", "state"),
    [
        (LedgerView(certified_height=0), None, "off"),
        (ledger(), sight(), "idle"),
        (ledger(), sight(event(0)), "working"),
        (ledger(), sight(next_event_nonce=1), "working"),
        (ledger(entry()), sight(), "working"),
        (ledger(operator=b""), sight(), "observing"),
        (ledger(entry()), sight(paused=True), "waiting"),
        (ledger(), Fault("unreachable", ""), "waiting"),
        (ledger(is_behind=True), sight(), "waiting"),
    ],
)
def test_states(view: LedgerView, seen: Sight | Fault | None, state: str) -> None:
    assert settle(view, seen).report.state == state


def test_numbers_of_the_report() -> None:
    report = settle(ledger(entry()), sight(event(0), event(1), allocated=400)).report
    assert (report.head_number, report.confirmed_number, report.funds, report.paused) == (20, 17, 600, False)
    assert (report.next_action, report.next_nonce, report.next_event, report.events_seen) == (1, 0, 0, 2)
    assert report.events_behind == 2
    action = report.actions[0]
    assert (action.total, action.signatures, action.threshold, action.signed_here) == (10, 3, 3, True)


def test_the_same_question_has_the_same_answer() -> None:
    """Pure: nothing but the arguments counts, and they are not changed."""
    view, seen, memory = ledger(entry(0), entry(1)), sight(event(0), relays=state_of((ONE, "pending"))), Memory()
    before = msgspec.msgpack.encode(memory)
    assert settle(view, seen, ONE, memory=memory) == settle(view, seen, ONE, memory=memory)
    assert msgspec.msgpack.encode(memory) == before
