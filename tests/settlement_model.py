"""What contracts/src/PotSettlement.sol promises, written a second time, from its documentation, without its order.

A call is judged by *all* rules that it breaks: the model names every refusal that would be right, the contract must
give one of them; without any, the call must go through, with exactly the events and the state that the model works out.
Digests come from `potchain.settlement` and signers from libsecp256k1, so that the ledger's own code is compared, too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from settlement_evm import Logged

from potchain.crypto import CURVE_ORDER, keccak256, recover_address
from potchain.errors import InvalidProof
from potchain.primitives import uint256
from potchain.settlement.actions import Action, ActionKind, Contract, Entry, multisig_digest, owners_hash

ZERO = bytes(20)
ENTRIES_MAX = 500
OWNER_PAUSE_S = 24 * 3600
OWNER_PAUSE_REST_S = 7 * 24 * 3600
FOREVER = 2**40 - 1
VALUE_MAX = 2**96 - 1

NO_SIGNER, HIGH_S = 1, 3
"""OpenZeppelin's ECDSA.RecoverError."""

Refusal = tuple[str, tuple[Any, ...]]

NO_REASON: Refusal = ("0x", ())
"""Reverted without data: the compiler's own checks."""
OVERFLOW: Refusal = ("Panic", (0x11,))


@dataclass(frozen=True)
class Call:
    """A transaction to the contract."""

    signature: str
    sender: bytes
    arguments: tuple[Any, ...] = ()
    wei: int = 0

    @property
    def name(self) -> str:
        """The function without its parameters."""
        return self.signature.partition("(")[0]


@dataclass(frozen=True)
class Expected:
    """What must become of a call: any one of `refusals`, or these events when there is none."""

    refusals: tuple[Refusal, ...] = ()
    events: tuple[Logged, ...] = ()
    returned: Any = None


@dataclass
class Payment:
    """Of the compatible path."""

    executed: bool = False
    epoch: int = 0
    confirmed: set[bytes] = field(default_factory=set)


@dataclass
class Account:
    """An account that is a contract: what it does when it is paid."""

    refuses: bool = False
    bubbles: bool = False
    when_paid: Call | None = None
    attempts: int = 0
    successes: int = 0


@dataclass
class Token:
    """A token that may misbehave; `manner` as in settlement_doubles.sol."""

    address: bytes
    manner: str = "Honest"
    fee_percent: int = 0
    hooks: bool = False
    held: dict[bytes, int] = field(default_factory=dict)
    allowed: dict[bytes, int] = field(default_factory=dict)
    """Towards the settlement contract."""

    def fault(self, units: int, owner: bytes, allowance: bool) -> Refusal | None:
        """Why a transfer fails, as the settlement contract passes it on."""
        if self.manner == "Refusing":
            return ("Refused", ())
        if self.manner == "False":
            return ("SafeERC20FailedOperation", (self.address,))
        if self.manner == "Lying":
            return None
        if allowance and self.allowed.get(owner, 0) < units:
            return ("Insufficient", (self.allowed.get(owner, 0), units))
        if self.held.get(owner, 0) < units:
            return ("Insufficient", (self.held.get(owner, 0), units))
        return None

    def arriving(self, units: int) -> int:
        """How much of a transfer that does not fail arrives."""
        return 0 if self.manner == "Lying" else units - units * self.fee_percent // 100

    def move(self, owner: bytes, to: bytes, units: int) -> None:
        """A transfer that does not fail."""
        if self.manner != "Lying":
            self.held[owner] = self.held.get(owner, 0) - units
            self.held[to] = self.held.get(to, 0) + self.arriving(units)


def leaf_of(account: bytes, cumulative: int) -> bytes:
    """A leaf of the cumulative tree."""
    return keccak256(keccak256(account.rjust(32, b"\0") + cumulative.to_bytes(32, "big")))


def root_from(leaf: bytes, branch: Sequence[bytes]) -> bytes:
    """Where a branch of sorted pairs leads."""
    for sibling in branch:
        leaf = keccak256(min(leaf, sibling) + max(leaf, sibling))
    return leaf


def branches_of(leaves: Sequence[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """Root of a tree of sorted pairs (an odd node moves up), and each leaf's branch."""
    branches: list[list[bytes]] = [[] for _ in leaves]
    level = [(leaf, [place]) for place, leaf in enumerate(leaves)]
    while len(level) > 1:
        above = []
        for left, right in zip(level[::2], level[1::2], strict=False):
            for place in left[1]:
                branches[place].append(right[0])
            for place in right[1]:
                branches[place].append(left[0])
            above.append((root_from(left[0], [right[0]]), left[1] + right[1]))
        level = above + (level[-1:] if len(level) % 2 else [])
    return level[0][0], branches


def deployment_faults(
    owners: Sequence[bytes], threshold: int, compatible: bool, itself: bytes, token_has_code: bool, token: bytes
) -> tuple[Refusal, ...]:
    """Every reason against these owners and this token."""
    faults: list[Refusal] = [] if token_has_code or token == ZERO else [("NotAContract", (token,))]
    most = 208 if compatible else 255
    if not 0 < len(owners) <= most:
        faults.append(("BadOwnerCount", (len(owners), most)))
    faults += [("SelfOwner", (owner,)) for owner in owners if owner == itself]
    pairs = pairwise([ZERO, *owners])
    faults += [("OwnersNotAscending", (before, owner)) for before, owner in pairs if owner <= before]
    if not 0 < threshold <= len(owners):
        faults.append(("BadThreshold", (threshold, len(owners))))
    return tuple(faults)


class SettlementModel:
    """The contract."""

    def __init__(
        self,
        contract: Contract,
        owners: Sequence[bytes],
        threshold: int,
        token: Token | None,
        compatible: bool,
        time_s: int,
    ) -> None:
        self.contract = contract
        self.owners = sorted(owners)
        self.threshold = threshold
        self.token = token
        self.compatible = compatible
        self.time_s = time_s
        self.epoch = self.next_nonce = self.next_event_nonce = 0
        self.deposited = self.allocated = self.claimable = self.withdrawn = self.paused_until = 0
        self.balance = 0
        """Of the asset, forced coins included."""
        self.root = bytes(32)
        self.rewards: dict[bytes, int] = {}
        self.claimed: dict[bytes, int] = {}
        self.pause_from: dict[bytes, int] = {}
        self.payments: dict[int, Payment] = {}
        self.accounts: dict[bytes, Account] = {}
        self.entered = False

    @property
    def available(self) -> int:
        """Deposits that are promised to nobody."""
        return self.deposited - self.allocated

    @property
    def owed(self) -> int:
        """The contract must have at least this, whatever happens."""
        return sum(self.rewards.values()) + self.claimable + self.available

    @property
    def paused(self) -> bool:
        """Whether it is stopped now."""
        return self.time_s < self.paused_until

    def digest(self, kind: ActionKind, arguments: Sequence[Any], contract: Contract, epoch: int) -> bytes:
        """What owners sign; `arguments` without the signatures."""
        nonce = arguments[0]
        if kind == "batch":
            pairs = zip(arguments[1], arguments[2], strict=False)
            entries = tuple(Entry(account, uint256(amount)) for account, amount in pairs)
            action = Action(nonce=nonce, epoch=epoch, kind=kind, height=0, entries=entries)
            if sum(arguments[2]) >= 2**256 or len(arguments[1]) != len(arguments[2]):
                return bytes(32)  # no sum, no digest
        elif kind == "root":
            # The total is signed as given; the ledger's action derives it from its entries.
            one = (Entry(ZERO, uint256(arguments[2])),)
            action = Action(nonce=nonce, epoch=epoch, kind=kind, height=0, entries=one, root=arguments[1])
        elif kind == "rotate":
            action = Action(
                nonce=nonce, epoch=epoch, kind=kind, height=0, owners=tuple(arguments[1]), threshold=arguments[2]
            )
        else:
            action = Action(nonce=nonce, epoch=epoch, kind=kind, height=0, paused=arguments[1])
        return multisig_digest(contract, action)

    def apply(self, call: Call) -> Expected:
        """What must become of a call; the model changes with it."""
        method: Callable[..., Expected] = getattr(self, call.name.lower())
        if call.wei and call.name not in ("deposit", "receive"):
            return Expected((NO_REASON,))
        return method(call, *call.arguments)

    def receive(self, call: Call) -> Expected:
        """A bare transfer."""
        return Expected((("DepositWithoutAccount", ()),))

    def nonsense(self, call: Call) -> Expected:
        """A function that there is not."""
        return Expected((NO_REASON,))

    def deposit(self, call: Call, account: bytes) -> Expected:
        """Native coins."""
        faults = self._stopped() + self._undepositable(account, call.wei)
        if self.token is not None:
            faults.append(("TokenExpected", (self.token.address,)))
        return self._deposited(faults, account, call.wei)

    def deposittoken(self, call: Call, account: bytes, units: int) -> Expected:
        """Tokens: what arrives counts."""
        faults = self._stopped()
        if self.entered:
            faults.append(("ReentrancyGuardReentrantCall", ()))
        if self.token is None:
            return Expected((*faults, ("NativeExpected", ())))
        fault = self.token.fault(units, call.sender, allowance=True)
        if fault:
            return Expected((*faults, fault))
        arriving = self.token.arriving(units)
        faults += self._undepositable(account, arriving)
        events: tuple[Logged, ...] = ()
        before = copy.deepcopy(vars(self)) if call.sender in self.accounts else {}
        if self.token.hooks and self.token.manner != "Lying" and not self.entered:
            refusals, events = self._paid(call.sender)
            faults += refusals
            if faults:
                vars(self).update(before)
        if not faults:
            self.token.move(call.sender, self.contract.address, units)
            if self.token.manner in ("Honest", "Silent"):
                self.token.allowed[call.sender] -= units
        done = self._deposited(faults, account, arriving)
        return done if done.refusals else Expected(events=events + done.events)

    def executebatch(
        self, call: Call, nonce: int, to: Sequence[bytes], amount: Sequence[int], signatures: bytes
    ) -> Expected:
        """Credits."""
        faults = self._stopped()
        faults += self._unsigned("batch", call.arguments)
        if len(to) != len(amount):
            faults.append(("LengthsDiffer", (len(to), len(amount))))
        if not 0 < len(to) <= ENTRIES_MAX:
            faults.append(("BadBatchSize", (len(to), ENTRIES_MAX)))
        faults += [("ZeroAddress", ())] * (ZERO in to) + [("ZeroAmount", ())] * (0 in amount)
        total = sum(amount)
        faults += [OVERFLOW] * (total >= 2**256)
        faults += self._untakeable(nonce, total)
        if faults:
            return Expected(tuple(faults))
        event_nonce = self._take(total)
        events = [self._credit(account, units) for account, units in zip(to, amount, strict=True)]
        return Expected(events=(*events, Logged("BatchExecuted", (event_nonce, nonce, total, call.sender))))

    def commitroot(self, call: Call, nonce: int, root: bytes, total: int, signatures: bytes) -> Expected:
        """A Merkle root."""
        faults = self._stopped() + self._unsigned("root", call.arguments) + self._untakeable(nonce, total)
        faults += [("ZeroAmount", ())] * (total == 0)
        if faults:
            return Expected(tuple(faults))
        event_nonce = self._take(total)
        self.root = root
        self.claimable += total
        return Expected(events=(Logged("RootCommitted", (event_nonce, nonce, root, total, call.sender)),))

    def rotateowners(
        self, call: Call, nonce: int, owners: Sequence[bytes], threshold: int, signatures: bytes
    ) -> Expected:
        """Other owners."""
        faults = self._unsigned("rotate", call.arguments) + self._untakeable(nonce, 0)
        faults += deployment_faults(owners, threshold, self.compatible, self.contract.address, True, ZERO)
        if faults:
            return Expected(tuple(faults))
        event_nonce = self._take(0)
        self.epoch += 1
        self.owners, self.threshold = sorted(owners), threshold
        values = (event_nonce, nonce, self.epoch, owners_hash(owners), threshold)
        return Expected(events=(Logged("OwnersRotated", values),))

    def setpaused(self, call: Call, nonce: int, paused: bool, signatures: bytes) -> Expected:
        """A stop without an end, or its end."""
        faults = self._unsigned("pause", call.arguments) + self._untakeable(nonce, 0)
        if faults:
            return Expected(tuple(faults))
        event_nonce = self._take(0)
        self.paused_until = FOREVER if paused else 0
        return Expected(events=(Logged("PauseSet", (event_nonce, nonce, paused)),))

    def pausebyowner(self, call: Call) -> Expected:
        """A bounded stop."""
        faults = self._stopped() + self._not_owner(call.sender)
        allowed_from = self.pause_from.get(call.sender, 0)
        if self.time_s < allowed_from:
            faults.append(("OwnerPauseUsed", (call.sender, allowed_from)))
        if faults:
            return Expected(tuple(faults))
        self.paused_until = self.time_s + OWNER_PAUSE_S
        self.pause_from[call.sender] = self.paused_until + OWNER_PAUSE_REST_S
        return Expected(events=(Logged("OwnerPaused", (call.sender, self.paused_until)),))

    def withdraw(self, call: Call, *amount: int) -> Expected:
        """A part, or everything."""
        held = self.rewards.get(call.sender, 0)
        units = amount[0] if amount else held
        faults: list[Refusal] = []
        if not 0 < units <= held:
            faults.append(("InsufficientRewards", (call.sender, units, held)))
        if self.entered:
            faults.append(("ReentrancyGuardReentrantCall", ()))
        if self.token is not None and not faults:
            fault = self.token.fault(units, self.contract.address, allowance=False)
            faults += [fault] if fault else []
        if faults:
            return Expected(tuple(faults))
        before = copy.deepcopy(vars(self)) if call.sender in self.accounts else {}
        lied = self.token is not None and self.token.manner == "Lying"
        self.rewards[call.sender] = held - units
        self.withdrawn += units
        self.balance -= 0 if lied else units
        told = True
        if self.token is not None:
            self.token.move(self.contract.address, call.sender, units)
            told = self.token.hooks and not lied
        refusals, inner = self._paid(call.sender) if told else ((), ())
        if refusals:
            vars(self).update(before)
            return Expected(refusals)
        return Expected(events=(Logged("Withdrawn", (call.sender, units)), *inner))

    def claim(self, call: Call, account: bytes, cumulative: int, branch: Sequence[bytes]) -> Expected:
        """An account's share of the root."""
        faults = self._stopped()
        if root_from(leaf_of(account, cumulative), branch) != self.root:
            faults.append(("BadProof", (account, cumulative)))
        already = self.claimed.get(account, 0)
        if cumulative <= already:
            faults.append(("NothingToClaim", (account, already)))
        increase = cumulative - already
        if increase > self.claimable:
            faults.append(("ExceedsCommitted", (increase, self.claimable)))
        if faults:
            return Expected(tuple(faults))
        self.claimable -= increase
        self.claimed[account] = cumulative
        self.rewards[account] = self.rewards.get(account, 0) + increase
        return Expected(events=(Logged("Claimed", (account, increase)),))

    def proposetransaction(self, call: Call, destination: bytes, value: int) -> Expected:
        """The seed's first step."""
        faults = self._incompatible() + self._not_owner(call.sender)
        faults += [("ZeroAddress", ())] * (destination == ZERO) + [("ZeroAmount", ())] * (value == 0)
        faults += [("ValueTooLarge", (value,))] * (value > VALUE_MAX)
        index = int.from_bytes(destination, "big") << 96 | value
        if index in self.payments and value <= VALUE_MAX:
            faults.append(("TransactionKnown", (index,)))
        if faults:
            return Expected(tuple(faults))
        self.payments[index] = Payment(epoch=self.epoch)
        return Expected(events=(Logged("TransactionProposed", (index, call.sender, destination, value)),),
                        returned=index)  # fmt: skip

    def confirmtransaction(self, call: Call, index: int) -> Expected:
        """The seed's second step, which executes when it can."""
        faults = self._incompatible() + self._not_owner(call.sender) + self._unpayable(index)
        payment = self.payments.get(index)
        if call.sender in self.confirmations(index) and not (payment and payment.executed):
            faults.append(("AlreadyConfirmed", (index, call.sender)))
        if faults:
            return Expected(tuple(faults))
        assert payment is not None
        payment.confirmed = {*self.confirmations(index), call.sender}
        payment.epoch = self.epoch
        events = [Logged("TransactionConfirmed", (index, call.sender))]
        if len(payment.confirmed) >= self.threshold and not self.paused and index % 2**96 <= self.available:
            events += self._pay(index)
        return Expected(events=tuple(events))

    def executetransaction(self, call: Call, index: int) -> Expected:
        """The seed's third step, for payments that could not be executed with the last confirmation."""
        faults = self._stopped() + self._unpayable(index)
        count = len(self.confirmations(index))
        if count < self.threshold:
            faults.append(("NotConfirmed", (index, count, self.threshold)))
        if index % 2**96 > self.available:
            faults.append(("ExceedsDeposits", (index % 2**96, self.available)))
        if faults:
            return Expected(tuple(faults))
        return Expected(events=tuple(self._pay(index)))

    def confirmations(self, index: int) -> set[bytes]:
        """Confirmations that count: of the epoch in office, or those that a payment was executed by."""
        payment = self.payments.get(index)
        return payment.confirmed if payment and (payment.executed or payment.epoch == self.epoch) else set()

    def _pay(self, index: int) -> list[Logged]:
        payment, value = self.payments[index], index % 2**96
        payment.executed = True
        self.allocated += value
        return [Logged("TransactionExecuted", (index,)), self._credit((index >> 96).to_bytes(20, "big"), value)]

    def _unpayable(self, index: int) -> list[Refusal]:
        payment = self.payments.get(index)
        if payment is None:
            return [("TransactionUnknown", (index,))]
        return [("TransactionAlreadyExecuted", (index,))] if payment.executed else []

    def _paid(self, account: bytes) -> tuple[tuple[Refusal, ...], tuple[Logged, ...]]:
        """What an account does with coins that it gets: why it refuses them, or the events of its own call."""
        behaviour = self.accounts.get(account)
        if behaviour is None:
            return (), ()
        if behaviour.refuses:
            return (("Refused", ()),), ()
        if behaviour.when_paid is None:
            return (), ()
        self.entered = True
        inner = self.apply(behaviour.when_paid)
        self.entered = False
        if inner.refusals and behaviour.bubbles:
            # OpenZeppelin gives a name to a payee's failure that has none.
            without_reason = NO_REASON in inner.refusals and self.token is None
            return ((("FailedCall", ()),) if without_reason else inner.refusals), ()
        behaviour.attempts += 1
        behaviour.successes += not inner.refusals
        return (), inner.events

    def _stopped(self) -> list[Refusal]:
        return [("Paused", (self.paused_until,))] if self.paused else []

    def _not_owner(self, account: bytes) -> list[Refusal]:
        return [] if account in self.owners else [("NotOwner", (account,))]

    def _incompatible(self) -> list[Refusal]:
        return [] if self.compatible else [("CompatiblePathOff", ())]

    def _undepositable(self, account: bytes, units: int) -> list[Refusal]:
        faults: list[Refusal] = [("ZeroAddress", ())] * (account == ZERO) + [("ZeroAmount", ())] * (units == 0)
        if self.deposited + units > VALUE_MAX:
            faults.append(("DepositsFull", (self.deposited, units)))
        return faults

    def _deposited(self, faults: list[Refusal], account: bytes, units: int) -> Expected:
        if faults:
            return Expected(tuple(faults))
        self.deposited += units
        self.balance += units
        self.next_event_nonce += 1
        return Expected(events=(Logged("Deposit", (self.next_event_nonce - 1, account, units)),))

    def _untakeable(self, nonce: int, total: int) -> list[Refusal]:
        faults: list[Refusal] = [] if nonce == self.next_nonce else [("WrongNonce", (nonce, self.next_nonce))]
        return faults + ([("ExceedsDeposits", (total, self.available))] if total > self.available else [])

    def _take(self, total: int) -> int:
        self.allocated += total
        self.next_nonce += 1
        self.next_event_nonce += 1
        return self.next_event_nonce - 1

    def _credit(self, account: bytes, units: int) -> Logged:
        self.rewards[account] = self.rewards.get(account, 0) + units
        return Logged("Credited", (account, units))

    def _unsigned(self, kind: ActionKind, arguments: Sequence[Any]) -> list[Refusal]:
        """Every fault of the signatures, the last argument, on an action."""
        signatures: bytes = arguments[-1]
        if len(signatures) % 65 or len(signatures) < 65 * self.threshold:
            return [("TooFewSignatures", (len(signatures), self.threshold))]
        digest = self.digest(kind, arguments[:-1], self.contract, self.epoch)
        faults: list[Refusal] = []
        previous = ZERO
        for offset in range(0, len(signatures), 65):
            signature = signatures[offset : offset + 65]
            if signature[32:64] > (CURVE_ORDER // 2).to_bytes(32, "big"):
                faults.append(("BadSignature", (offset // 65, HIGH_S)))
                continue
            try:
                signer = recover_address(digest, signature)
            except InvalidProof:
                faults.append(("BadSignature", (offset // 65, NO_SIGNER)))
                continue
            if signer <= previous:
                faults.append(("SignersNotAscending", (previous, signer)))
            faults += self._not_owner(signer)
            previous = signer
        return faults
