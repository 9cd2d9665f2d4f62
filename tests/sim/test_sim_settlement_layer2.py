"""The simulated Layer 2 by itself: the contract's rules, the pool's, and what a reorganisation takes back."""

from __future__ import annotations

import random

import msgspec
import pytest

from potchain.crypto import SigningKey, keccak256
from potchain.errors import SettlementError
from potchain.primitives import uint256
from potchain.settlement import Action, Entry, multisig_digest
from potchain.sim.layer2.chain import Chain, Mail, Transaction, read_back, receipt, signed
from potchain.sim.layer2.contract import Book, Call, Reverted, call_of, executed, sorted_signatures
from potchain.sim.scheduler import Scheduler
from potchain.sim.settling.world import CONTRACT

OWNERS = sorted((SigningKey(keccak256(b"key" + name)) for name in (b"one", b"two", b"three")), key=lambda k: k.address)
STRANGER = SigningKey(keccak256(b"keystranger"))
RELAYER = SigningKey(keccak256(b"keyrelayer"))
ALICE = bytes(19) + b"\x0a"
BOB = bytes(19) + b"\x0b"


def book(**changes: object) -> Book:
    """A contract of three owners, two of whom must sign, with 100 deposited."""
    values = {"owners": tuple(key.address for key in OWNERS), "threshold": 2, "deposited": 100, **changes}
    return Book(**values)  # type: ignore[arg-type]


def batch(amount: int = 30, **changes: object) -> Action:
    """Pay Alice."""
    values = {
        "nonce": 0, "epoch": 0, "kind": "batch", "height": 1, "entries": (Entry(ALICE, uint256(amount)),), **changes,
    }  # fmt: skip
    return Action(**values)  # type: ignore[arg-type]


def asked(action: Action, *keys: SigningKey) -> Call:
    """The call, signed by these; by the first two owners if nobody is named."""
    digest = multisig_digest(CONTRACT, action)
    pairs = [(key.address, key.sign_digest(digest)) for key in keys or OWNERS[:2]]
    return call_of(action, sorted_signatures(pairs))


def done(before: Book, call: Call) -> Book:
    """After a call that must succeed."""
    return executed(CONTRACT, before, call, RELAYER.address)[0]


def test_a_batch_is_credited_once() -> None:
    call = asked(batch())
    after = done(book(), call)
    assert (dict(after.credits), after.allocated, after.next_nonce, after.next_event) == ({ALICE: 30}, 30, 1, 1)
    with pytest.raises(Reverted, match="WrongNonce"):
        done(after, call)


@pytest.mark.parametrize(
    ("before", "call", "error"),
    [
        (book(), asked(batch(), OWNERS[0]), "TooFewSignatures"),
        (book(), asked(batch(), OWNERS[0], STRANGER), "NotOwner"),
        (book(), asked(batch(), OWNERS[0], OWNERS[0]), "UnsortedSigners"),
        (book(), msgspec.structs.replace(asked(batch()), amounts=(31,)), "NotOwner"),
        (book(), msgspec.structs.replace(asked(batch()), signatures=b"\x01"), "WrongSignaturesLength"),
        (book(epoch=1), asked(batch()), "NotOwner"),
        (book(), asked(batch(101)), "InsufficientDeposits"),
        (book(), asked(batch(0)), "ZeroAmount"),
        (book(paused=True), asked(batch()), "EnforcedPause"),
        (book(), asked(batch(kind="rotate", entries=(), owners=(BOB, ALICE), threshold=1)), "WrongOwners"),
        (book(), Call(function="deposit", accounts=(bytes(20),), amounts=(1,)), "ZeroAddress"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_contract_refuses(before: Book, call: Call, error: str) -> None:
    with pytest.raises(Reverted, match=error):
        done(before, call)


def test_a_rotation_voids_signatures_of_the_epoch_before() -> None:
    rotation = batch(kind="rotate", entries=(), owners=tuple(key.address for key in OWNERS[1:]), threshold=1)
    after = done(book(), asked(rotation))
    assert (after.epoch, after.threshold, len(after.owners)) == (1, 1, 2)
    with pytest.raises(Reverted, match="NotOwner"):
        done(after, asked(batch(nonce=1), OWNERS[1]))
    assert done(after, asked(batch(nonce=1, epoch=1), OWNERS[1])).allocated == 30


def test_a_root_is_claimed_by_the_difference() -> None:
    def leaf(account: bytes, sum_: int) -> bytes:
        return keccak256(keccak256(account.rjust(32, b"\0") + sum_.to_bytes(32, "big")))

    leaves = sorted((leaf(ALICE, 30), leaf(BOB, 5)))
    root = keccak256(leaves[0] + leaves[1])
    entries = (Entry(ALICE, uint256(30)), Entry(BOB, uint256(5)))
    after = done(book(), asked(batch(kind="root", entries=entries, root=root)))
    claim = Call(function="claim", accounts=(ALICE,), total=30, proof=(leaf(BOB, 5),))
    claimed = done(after, claim)
    assert (claimed.credits[ALICE], claimed.allocated, claimed.next_event) == (30, 35, 1)
    with pytest.raises(Reverted, match="NothingToClaim"):
        done(claimed, claim)
    with pytest.raises(Reverted, match="InvalidProof"):
        done(after, msgspec.structs.replace(claim, total=31))


class World:
    """A chain whose blocks the test waits for."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.words: list[str] = []
        self.arrived: list[Transaction] = []
        self.chain = Chain(
            self.scheduler, CONTRACT, book(), block_ns=100, fee_wei=10, rng=random.Random("test"),
            changed=self.words.append, arrived=self.arrived.append,
        )  # fmt: skip
        self.chain.begin()

    def blocks(self, count: int) -> None:
        """Let time pass until there are so many more."""
        wanted = self.chain.head.number + count
        self.scheduler.run(10**9, lambda: self.chain.head.number >= wanted)

    def pay(self, nonce: int, amount: int, fee_wei: int = 10, key: SigningKey = RELAYER) -> Transaction:
        """Send a deposit for Alice."""
        transaction = signed(key, Mail(nonce, fee_wei, Call(function="deposit", accounts=(ALICE,), amounts=(amount,))))
        self.chain.send(transaction)
        return transaction


def test_an_account_goes_in_the_order_of_its_nonces_and_the_dearest_first() -> None:
    world = World()
    late = world.pay(1, 2)
    world.blocks(1)
    assert world.chain.is_known(late)
    assert not world.chain.events()
    world.pay(0, 1)
    world.pay(0, 3, fee_wei=11, key=STRANGER)
    world.blocks(1)
    assert [event.event_nonce for event in world.chain.events()] == [0, 1, 2]
    accounts = [each.account for each in world.chain.head.transactions]
    assert accounts == [STRANGER.address, RELAYER.address, RELAYER.address]


def test_what_is_too_cheap_or_censored_waits_and_may_be_replaced() -> None:
    world = World()
    world.pay(0, 1, fee_wei=9)
    world.chain.censored[STRANGER.address] = 1
    world.pay(0, 2, key=STRANGER)
    world.blocks(2)
    assert not world.chain.events()
    with pytest.raises(SettlementError, match="underpriced"):
        world.pay(0, 3, fee_wei=9)
    world.pay(0, 3, fee_wei=10)
    world.chain.censored[STRANGER.address] = 0
    world.blocks(1)
    assert world.chain.book.deposited == 105


@pytest.mark.parametrize("forget", [False, True])
def test_a_branch_that_loses_takes_its_events_along(forget: bool) -> None:
    world = World()
    world.pay(0, 1)
    world.blocks(1)
    kept = world.chain.events()
    second = world.pay(1, 2)
    world.blocks(2)
    before = world.chain.head
    assert world.chain.book.deposited == 103
    world.chain.reorganise(2, forget=forget)
    assert world.chain.head.number == before.number + 1
    assert world.chain.blocks[before.number].hash != before.hash
    assert world.chain.events()[:1] == kept
    world.blocks(1)
    assert world.chain.book.deposited == (101 if forget else 103)
    assert (receipt(world.chain.blocks, second.hash) is None) == forget
    assert world.chain.is_known(second) != forget
    assert [event.event_nonce for event in world.chain.events()] == list(range(world.chain.book.next_event))


def test_a_transaction_is_what_its_account_signed() -> None:
    transaction = signed(RELAYER, Mail(0, 10, Call(function="setPaused", paused=True)))
    assert read_back(transaction.raw) == transaction
    with pytest.raises(SettlementError, match="no transaction"):
        read_back(transaction.raw[:-1])


def test_a_stalled_chain_makes_no_blocks() -> None:
    world = World()
    world.blocks(1)
    world.chain.stalled += 1
    world.scheduler.run(world.scheduler.now_ns + 10_000, lambda: False)
    assert world.chain.head.number == 1
    world.chain.stalled -= 1
    world.blocks(1)
    assert world.chain.head.number == 2
