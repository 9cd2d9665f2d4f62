"""Random walks of PotSettlement in an EVM of this process, step by step against the model.

    python tests/settlement_walk.py                      the seeds of the test
    python tests/settlement_walk.py --seeds 17           one world again
    python tests/settlement_walk.py --seeds 1-2000 --steps 400

A seed makes a world (asset, owners, threshold, compatible path) and its walk. Most steps are sent to be accepted; the
others are wrong in one chosen way. Every step is counted by what came of it, because a walk that never withdraws
proves nothing about withdrawals.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from settlement_evm import At, Interface, Machine, Outcome
from settlement_model import (
    ZERO,
    Account,
    Call,
    Expected,
    SettlementModel,
    Token,
    branches_of,
    deployment_faults,
    leaf_of,
)
from settlement_signing import FUNCTIONS, INJURIES, pool, signed
from settlement_solc import artifact, doubles

from potchain.crypto import keccak256
from potchain.settlement.actions import ActionKind, Contract

SEEDS = range(1, 97)
STEPS = 150
MANNERS = ("Honest", "Silent", "False", "Refusing", "Lying")
WEI_MAX = 2**96 - 1
ENDS = (bytes(19) + b"\1", b"\xff" * 20)
"""The first and the last address; nobody has their keys."""
AGED = 0.04
"""Share of the worlds that begin with many rotations."""
NONSENSE = "nonsense()"
"""A call of something that no contract has."""

DEPLOYER = keccak256(b"deployer")[12:]
RELAYER = keccak256(b"relayer")[12:]


class Mismatch(AssertionError):
    """Contract and model differ; `step` says where."""

    def __init__(self, step: int, text: str) -> None:
        self.step = step
        super().__init__(f"step {step}: {text}")


def shown(value: object) -> str:
    """Short enough for one line."""
    if isinstance(value, bytes):
        return value[:20].hex() + ("" if len(value) <= 20 else f"...({len(value)})")
    if isinstance(value, list | tuple):
        return f"[{', '.join(shown(each) for each in value[:8])}{', ...' if len(value) > 8 else ''}]"
    return str(value)


def named(name: str) -> bytes:
    """An account that only has a name."""
    return keccak256(name.encode())[12:]


class World:
    """One contract, its model and everybody around them."""

    def __init__(self, seed: int, code: str, abi: Sequence[Mapping[str, Any]], hits: Counter[str]) -> None:
        self.dice = random.Random(seed)
        self.hits = hits
        self.step_number = 0
        token_double, account_double = doubles()["DoubleToken"], doubles()["DoubleAccount"]
        foreign_errors = [each for each in token_double["abi"] if each["type"] == "error"]
        self.interface = Interface([*abi, *foreign_errors])
        self.machine = Machine(chain_id=self.dice.choice((56, 97, 31337)))
        for account in (DEPLOYER, RELAYER):
            self.machine.fund(account)
        self.token: At | None = None
        if self.dice.random() < 0.4:
            self.token = self._double(token_double)
        self.behaving = [self._double(account_double) for _ in range(3)]
        self.users = [named(f"user {number}") for number in range(6)]
        for user in (*self.users, *pool()):
            self.machine.fund(user)
        self.trees: list[tuple[bytes, dict[bytes, int]]] = []
        self.executed: list[Call] = []
        self.contract, self.model = self._deployed(bytes.fromhex(code.removeprefix("0x")))
        if self.token is not None:
            for payer in self.payers:
                self._fill(payer)
        if self.dice.random() < AGED:
            self._age(self.dice.choice((126, 254)))

    def _age(self, rotations: int) -> None:
        """So many rotations to the same owners: counters that are kept in few bytes come to their edges."""
        for _ in range(rotations):
            arguments = [self.model.next_nonce, self.model.owners, self.model.threshold]
            signatures = signed(self.model, self.dice, "rotate", arguments)
            self.perform(Call(FUNCTIONS["rotate"], RELAYER, (*arguments, signatures)))

    @property
    def payers(self) -> list[bytes]:
        return [*self.users, *(each.address for each in self.behaving)]

    @property
    def asset(self) -> bytes:
        return self.token.address if self.token else ZERO

    def _double(self, made: Mapping[str, Any]) -> At:
        address, fault = self.machine.deploy(DEPLOYER, bytes.fromhex(made["bytecode"][2:]))
        assert not fault, fault
        return At(self.machine, Interface(made["abi"]), address)

    def _fill(self, payer: bytes) -> None:
        """Give tokens to an account, and its permission to take them."""
        assert self.token is not None
        assert self.model.token is not None
        units = 10**24
        self.token.send(DEPLOYER, "mint(address,uint256)", payer, units)
        data = self.token.interface.calldata("approve(address,uint256)", self.contract.address, units)
        sent = self.raw(payer, self.token.address, data)
        assert not sent.error, sent
        self.model.token.held[payer] = self.model.token.held.get(payer, 0) + units
        self.model.token.allowed[payer] = units

    def raw(self, sender: bytes, to: bytes, data: bytes, wei: int = 0) -> Outcome:
        """A transaction; accounts that are contracts act through `act`."""
        double = next((each for each in self.behaving if each.address == sender), None)
        if double is None:
            return self.machine.call(self.interface, sender, to, data, wei=wei, emitter=self.emitter)
        wrapped = double.interface.calldata("act(address,bytes)", to, data)
        return self.machine.call(self.interface, RELAYER, sender, wrapped, wei=wei, emitter=self.emitter)

    @property
    def emitter(self) -> bytes:
        return self.contract.address if hasattr(self, "contract") else ZERO

    # Deployment, with every reason against it now and then.

    def _deployed(self, code: bytes) -> tuple[At, SettlementModel]:
        while True:
            compatible = self.dice.random() < 0.5
            owners, threshold = self.some_owners(compatible)
            token, has_code = self.asset, self.token is not None
            if self.dice.random() < 0.1:
                token, has_code = named("no contract"), False
            constructor = self.interface.constructor(owners, threshold, token, compatible)
            address, fault = self.machine.deploy(DEPLOYER, code + constructor)
            faults = deployment_faults(owners, threshold, compatible, ZERO, has_code, token)
            if not faults and not fault:
                self.hits["deploy"] += 1
                break
            refusal = self.interface.refusal(bytes.fromhex(fault)) if fault else ("", ())
            if refusal not in faults:
                raise Mismatch(0, f"constructor({owners}, {threshold}, {compatible}): {refusal}, right: {faults}")
            self.hits[f"error {refusal[0]}"] += 1
        contract = Contract(scheme="multisig", chain_id=self.machine.chain_id, address=address, safe=ZERO,
                            safe_nonce=0, from_block=0)  # fmt: skip
        model_token = Token(token) if self.token else None
        model = SettlementModel(contract, owners, threshold, model_token, compatible, self.machine.time_s)
        model.accounts = {each.address: Account() for each in self.behaving}
        return At(self.machine, self.interface, address), model

    def some_owners(self, compatible: bool, itself: bytes = ZERO) -> tuple[list[bytes], int]:
        """Owners and a threshold; about every second time something is wrong with them, or they are unusual."""
        dice = self.dice
        count = dice.choice((1, 2, 3, 4, 4, 5, 7, 30))
        owners = dice.sample(list(pool()), count)
        threshold = dice.choice((1, count, dice.randint(1, count), min(count, 3)))
        most = 208 if compatible else 255
        unusual = ("zero", "twice", "self", "none", "many", "at most", "ends", "order", "low", "high")
        wrong = dice.choice(unusual + ("",) * 6)
        if wrong == "none":
            owners = []
        elif wrong == "many":
            owners = [named(f"many {number}") for number in range(most + 1)]
        elif wrong == "at most" and itself == ZERO:
            owners = [*owners, *(named(f"many {number}") for number in range(most - count))]
        elif wrong == "ends" and itself == ZERO:
            owners = [*owners, *ENDS]
        elif wrong in ("zero", "self", "twice"):
            owners.append({"zero": ZERO, "self": itself, "twice": owners[0]}[wrong])
        elif wrong in ("low", "high"):
            threshold = 0 if wrong == "low" else dice.choice((len(owners) + 1, 256, 257, 2**255 + 1))
        owners.sort()
        if wrong == "order":
            place = dice.randrange(len(owners))
            owners = owners[place:] + owners[:place]
        return owners, threshold

    # One step.

    def advance(self, seconds: int) -> None:
        """A block, so much later."""
        self.machine.advance(seconds)
        self.model.time_s = self.machine.time_s

    def perform(self, call: Call) -> Expected:
        """Send it, and hold what came of it against the model. Raises Mismatch."""
        if call.wei > self.machine.balance(call.sender):
            self.machine.fund(call.sender)
        expected = self.model.apply(call)
        before = self.held(call.sender)
        outcome = self.raw(call.sender, self.contract.address, self.calldata(call), call.wei)
        text = f"{call.name} from {call.sender.hex()} of {shown(call.arguments)}, {call.wei} wei"
        if expected.refusals:
            if (outcome.error, outcome.arguments) not in expected.refusals:
                got = outcome.error or "went through"
                raise Mismatch(self.step_number, f"{text}: {got}{outcome.arguments}, right: {expected.refusals}")
            self.hits[f"error {outcome.error}"] += 1
            self.hits[f"refused {call.name}"] += 1
        else:
            if outcome.error:
                raise Mismatch(self.step_number, f"{text}: refused with {outcome.error}{outcome.arguments}")
            if outcome.events != expected.events:
                raise Mismatch(self.step_number, f"{text}: events {outcome.events}, right: {expected.events}")
            self.hits[f"done {call.signature}"] += 1
        if call.name == "withdraw" and not expected.refusals:
            self._check_receipt(call, before, expected)
        self.check()
        return expected

    def calldata(self, call: Call) -> bytes:
        """What is sent."""
        if call.name == "receive":
            return b""
        if call.signature == NONSENSE:
            return keccak256(NONSENSE.encode())[:4]
        return self.interface.calldata(call.signature, *call.arguments)

    def held(self, account: bytes) -> int:
        """Of the asset, outside the contract."""
        if self.token is not None:
            return int(self.token.read("balanceOf(address)", account))
        return self.machine.balance(account)

    def _check_receipt(self, call: Call, before: int, expected: Expected) -> None:
        units = next(event for event in expected.events if event.name == "Withdrawn").values[1]
        arrived = self.model.token.arriving(units) if self.model.token else units
        if self.held(call.sender) != before + arrived:
            raise Mismatch(self.step_number, f"{units} withdrawn, {self.held(call.sender) - before} arrived")

    def check(self, everybody: bool = False) -> None:
        """Every view against the model, and that the contract can pay what it owes."""
        model = self.model
        words: list[tuple[str, int | bytes]] = [
            ("nextNonce()", model.next_nonce),
            ("nextEventNonce()", model.next_event_nonce),
            ("epoch()", model.epoch),
            ("threshold()", model.threshold),
            ("deposited()", model.deposited),
            ("allocated()", model.allocated),
            ("claimable()", model.claimable),
            ("committedRoot()", int.from_bytes(model.root, "big")),
            ("pausedUntil()", model.paused_until),
            ("paused()", int(model.paused)),
        ]
        for signature, right in words:
            self._same(signature, self._word(signature), right)
        accounts = {*model.rewards, *model.claimed} if everybody else self.payers
        for account in accounts:
            self._same("rewards(address)", self._word("rewards(address)", account), model.rewards.get(account, 0))
            self._same("claimed(address)", self._word("claimed(address)", account), model.claimed.get(account, 0))
        balance = self.held(self.contract.address)
        self._same("balance", balance, model.balance)
        if balance < model.owed:
            raise Mismatch(self.step_number, f"the contract has {balance} and owes {model.owed}")
        for double in self.behaving:
            self._same("attempts", double.read("attempts()"), model.accounts[double.address].attempts)
            self._same("successes", double.read("successes()"), model.accounts[double.address].successes)
        if everybody or self.dice.random() < 0.1:
            self._check_more()

    def _check_more(self) -> None:
        model, read = self.model, self.contract.read
        self._same("owners()", read("owners()"), tuple(model.owners))
        stranger = self.dice.choice((*pool(), *ENDS, ZERO))
        right = stranger in model.owners and stranger != ENDS[1]  # the last address is never in office
        self._same("isOwner(address)", read("isOwner(address)", stranger), right)
        self._same("compatible()", read("compatible()"), model.compatible)
        self._same("token()", read("token()"), self.asset)
        waiting = [index for index, payment in model.payments.items() if not payment.executed]
        for index in self.dice.sample(waiting, min(3, len(waiting))):
            self._same("confirmationsOf", read("confirmationsOf(uint256)", index), len(model.confirmations(index)))

    def _word(self, signature: str, *arguments: bytes) -> int:
        padded = b"".join(each.rjust(32, b"\0") for each in arguments)
        data = self.interface.functions[signature][0] + padded
        return int.from_bytes(self.machine.view(self.contract.address, data), "big")

    def _same(self, what: str, got: object, right: object) -> None:
        if got != right:
            raise Mismatch(self.step_number, f"{what} is {got!r}, right: {right!r}")

    # What a step may be.

    def account(self) -> bytes:
        """Somebody who can withdraw."""
        return self.dice.choice(self.payers)

    def amount(self, most: int) -> int:
        """From 1 to `most`, often at its ends."""
        return max(1, self.dice.choice((1, most, self.dice.randint(1, max(1, most)), most // 10)))

    def deposit(self) -> None:
        """Money in, of both kinds, right and wrong."""
        dice = self.dice
        account, units = self.account(), dice.choice((1, 1000, 10**6, dice.randint(1, 10**9)))
        wrong = dice.choice(("", "", "", "", "", "", "account", "amount", "asset", "full", "bare", "coins elsewhere"))
        account = ZERO if wrong == "account" else account
        units = 0 if wrong == "amount" else WEI_MAX + 1 - dice.choice((0, 1)) if wrong == "full" else units
        if wrong == "bare":
            self.perform(Call("receive()", self.account(), wei=dice.choice((0, units))))
        elif wrong == "coins elsewhere":
            self.perform(Call("pauseByOwner()", dice.choice(self.model.owners), wei=units))
        elif (self.token is None) == (wrong == "asset"):
            self.deposit_token(account, units)
        else:
            self.machine.fund(RELAYER)
            self.perform(Call("deposit(address)", dice.choice(self.users), (account,), wei=units))

    def deposit_token(self, account: bytes, units: int) -> None:
        """Tokens, by a token that may misbehave."""
        dice, sender = self.dice, self.account()
        if self.token is not None and self.model.token is not None:
            self._fill(sender)
            if units > 10**24:
                self.token.send(DEPLOYER, "mint(address,uint256)", sender, units)
                data = self.token.interface.calldata("approve(address,uint256)", self.contract.address, units)
                self.raw(sender, self.token.address, data)
                self.model.token.held[sender] += units
                self.model.token.allowed[sender] = units
            elif dice.random() < 0.1:
                units = 10**24 + 1  # more than it may take
        self.behave_token()
        hook = self.model.token is not None and self.model.token.hooks and sender in self.model.accounts
        if hook:
            self.behave_account(sender, Call("depositToken(address,uint256)", sender, (account, units)))
        self.perform(Call("depositToken(address,uint256)", sender, (account, units)))
        if hook:
            self.behave_account(sender, None)
        self.behave_token(honest=True)

    def behave_token(self, honest: bool = False) -> None:
        """Choose what the token does from now on."""
        if self.token is None or self.model.token is None:
            return
        dice, model = self.dice, self.model.token
        model.manner = "Honest" if honest or dice.random() < 0.5 else dice.choice(MANNERS)
        model.fee_percent = 0 if honest or dice.random() < 0.7 else dice.choice((1, 50, 100))
        model.hooks = not honest and dice.random() < 0.4
        self.token.send(DEPLOYER, "behave(uint8,uint256,bool)", MANNERS.index(model.manner), model.fee_percent,
                        model.hooks)  # fmt: skip

    def behave_account(self, address: bytes, when_paid: Call | None, refuses: bool = False) -> None:
        """Choose what an account that is a contract does when it is paid."""
        double = next(each for each in self.behaving if each.address == address)
        account = self.model.accounts[address]
        account.when_paid, account.refuses, account.bubbles = when_paid, refuses, self.dice.random() < 0.5
        data = b"" if when_paid is None else self.calldata(when_paid)
        double.send(DEPLOYER, "behave(bool,bool,address,bytes)", refuses, account.bubbles, self.contract.address, data)

    def signed_call(self, kind: ActionKind, arguments: Sequence[Any], sender: bytes) -> Call:
        """An action; now and then with signatures that are wrong in one way."""
        sign, injury = signed, ""
        if self.dice.random() < 0.25:
            injury = self.dice.choice(list(INJURIES))
            sign = INJURIES[injury]
        self.hits[f"signatures {injury}"] += bool(injury)
        return Call(FUNCTIONS[kind], sender, (*arguments, sign(self.model, self.dice, kind, arguments)))

    def nonce(self) -> int:
        """Nearly always the next."""
        if self.dice.random() < 0.93:
            return self.model.next_nonce
        return max(0, self.model.next_nonce + self.dice.choice((-1, 1, 2, 2**32, 2**64)))

    def act(self, kind: ActionKind, arguments: Sequence[Any]) -> bool:
        """Sign an action and send it; whether it went through."""
        call = self.signed_call(kind, arguments, self.dice.choice((RELAYER, self.account())))
        done = not self.perform(call).refusals
        if done:
            self.executed.append(call)
        return done

    def batch_arguments(self) -> list[Any]:
        """Entries of a batch; one time in five something is wrong with them."""
        dice, available = self.dice, self.model.available
        count = dice.choice((1, 1, 2, 3, 5, 12)) if dice.random() < 0.985 else dice.choice((499, 500, 501))
        most = max(1, available // count)
        wrong = dice.choice(("",) * 12 + ("zero account", "zero amount", "lengths", "none", "overflow", "beyond"))
        accounts = [self.account() for _ in range(count)]
        amounts = [self.amount(most) if count < 100 else 1 for _ in accounts]
        if dice.random() < 0.1 or wrong == "beyond":
            amounts[0] = max(1, available - sum(amounts[1:]) + (wrong == "beyond"))
        place = dice.randrange(count)
        if wrong == "zero account":
            accounts[place] = ZERO
        elif wrong == "zero amount":
            amounts[place] = 0
        elif wrong == "lengths":
            (accounts if dice.random() < 0.5 else amounts).pop()
        elif wrong == "none":
            accounts, amounts = [], []
        elif wrong == "overflow":
            most = dice.choice((2**96, 2**96 - 1, 2**256 - amounts[0], 2**256 - 1))
            accounts, amounts = [*accounts, self.account()], [*amounts, most]
        return [self.nonce(), accounts, amounts]

    def batch(self) -> None:
        """Credits."""
        arguments = self.batch_arguments()
        if not arguments[1] or len(arguments[1]) != len(arguments[2]):
            call = Call(FUNCTIONS["batch"], RELAYER, (*arguments, signed(self.model, self.dice, "batch", arguments)))
            self.perform(call)
        else:
            self.act("batch", arguments)

    def root(self) -> None:
        """A new cumulative tree; the total may say more or less than the tree."""
        dice = self.dice
        promised = dict(self.trees[-1][1]) if self.trees else {}
        total = 0
        count = dice.randint(1, 8)
        for account in dice.sample(self.payers, min(count, len(self.payers))):
            increase = self.amount(max(1, self.model.available // count))
            promised[account] = promised.get(account, 0) + increase
            total += increase
        total = max(0, total + dice.choice((0, 0, 0, 0, -1, 1, -total // 2, -total, self.model.available - total + 1)))
        root, _ = branches_of([leaf_of(*leaf) for leaf in promised.items()])
        if self.act("root", [self.nonce(), root, total]):
            self.trees.append((root, promised))

    def claim(self) -> None:
        """A leaf of the tree in force, or something that looks like one."""
        dice = self.dice
        if not self.trees:
            return self.root()
        promised = self.trees[-1 if dice.random() < 0.9 else 0][1]
        leaves = list(promised.items())
        _, branches = branches_of([leaf_of(*leaf) for leaf in leaves])
        unclaimed = [at for at, (account, units) in enumerate(leaves) if units > self.model.claimed.get(account, 0)]
        place = dice.choice(unclaimed) if unclaimed and dice.random() < 0.85 else dice.randrange(len(leaves))
        (account, units), branch = leaves[place], branches[place]
        wrong = dice.choice(("",) * 8 + ("amount", "account", "branch", "short", "long"))
        if wrong == "amount":
            units += dice.choice((1, -1, 2**255))
        elif wrong == "account":
            account = self.account()
        elif wrong == "branch":
            branch = [keccak256(each) for each in branch]
        elif wrong in ("short", "long"):
            branch = branch[:-1] if wrong == "short" else [*branch, bytes(32)]
        self.perform(Call("claim(address,uint256,bytes32[])", self.account(), (account, units, branch)))
        return None

    def rotate(self) -> None:
        """Other owners."""
        owners, threshold = self.some_owners(self.model.compatible, self.contract.address)
        self.act("rotate", [self.nonce(), owners, threshold])

    def pause(self) -> None:
        """By the owners; more often to set it going."""
        self.act("pause", [self.nonce(), self.dice.random() < (0.1 if self.model.paused else 0.6)])

    def owner_pause(self) -> None:
        """By one of them, or by somebody who is none; at the edge of time now and then."""
        owner = self.dice.choice(self.model.owners) if self.dice.random() < 0.8 else self.account()
        if self.dice.random() < 0.5:
            self.advance_to(self.model.pause_from.get(owner, 0) - self.dice.choice((0, 1)))
        self.perform(Call("pauseByOwner()", owner))

    def advance_to(self, time_s: int) -> None:
        """A block at that second, when it is ahead."""
        if self.model.time_s < time_s < self.model.time_s + 10**8:
            self.advance(time_s - self.model.time_s)

    def wait(self) -> None:
        """Time passes, often until just before or just at the end of a stop."""
        if self.model.paused and self.dice.random() < 0.7:
            self.advance_to(self.model.paused_until - self.dice.choice((0, 1)))
        else:
            self.advance(self.dice.choice((12, 3600, 86_399, 86_400, 8 * 86_400)))
        self.check()

    def withdraw(self) -> None:
        """All, a part, too much or nothing, by accounts of every kind."""
        dice = self.dice
        rich = [account for account in self.payers if self.model.rewards.get(account, 0)]
        account = dice.choice(rich) if rich and dice.random() < 0.9 else self.account()
        held = self.model.rewards.get(account, 0)
        call = Call("withdraw()", account)
        if dice.random() < 0.6:
            units = dice.choice((held, held, max(0, held - 1), held // 2, held + 1, 0, 2**256 - 1))
            call = Call("withdraw(uint256)", account, (units,))
        self.behave_token()
        behaves = account in self.model.accounts
        if behaves:
            self.behave_account(account, self.reaction(account), refuses=dice.random() < 0.2)
        self.perform(call)
        if behaves:
            self.behave_account(account, None)
        self.behave_token(honest=True)

    def reaction(self, account: bytes) -> Call | None:
        """What a payee calls while it is being paid."""
        dice = self.dice
        kinds = ("nothing", "nonsense", "nonsense", "all", "one", "claim", "batch", "deposit", "pause", "token")
        kind = dice.choice(kinds)
        if kind == "claim" and self.trees:
            leaves = list(self.trees[-1][1].items())
            _, branches = branches_of([leaf_of(*leaf) for leaf in leaves])
            place = dice.randrange(len(leaves))
            return Call("claim(address,uint256,bytes32[])", account, (*leaves[place], branches[place]))
        if kind == "batch":
            arguments = [self.model.next_nonce, [account], [1]]
            signatures = signed(self.model, dice, "batch", arguments)
            return Call(FUNCTIONS["batch"], account, (*arguments, signatures))
        calls = {
            "nonsense": Call(NONSENSE, account),
            "all": Call("withdraw()", account),
            "one": Call("withdraw(uint256)", account, (1,)),
            "deposit": Call("deposit(address)", account, (account,)),
            "pause": Call("pauseByOwner()", account),
            "token": Call("depositToken(address,uint256)", account, (account, 1)),
        }
        return calls.get(kind)

    def owner(self) -> bytes:
        """Nearly always one in office."""
        return self.dice.choice(self.model.owners) if self.dice.random() < 0.9 else self.account()

    def propose(self) -> None:
        """The seed's first step."""
        dice = self.dice
        if self.model.payments and dice.random() < 0.2:
            index = dice.choice(list(self.model.payments))
            destination, value = (index >> 96).to_bytes(20, "big"), index % 2**96
        else:
            destination, value = self.account(), self.amount(max(1, self.model.available))
            value = dice.choice((value,) * 8 + (self.model.available + 1,) * 4 + (0, 2**96, 2**96 - 1))
            destination = ZERO if dice.random() < 0.05 else destination
        self.perform(Call("proposeTransaction(address,uint256)", self.owner(), (destination, value)))

    def payment(self) -> int:
        """Nearly always one that waits."""
        waiting = [index for index, payment in self.model.payments.items() if not payment.executed]
        if waiting and self.dice.random() < 0.9:
            return self.dice.choice(waiting)
        known = [0, *self.model.payments]
        return self.dice.choice(known) if self.dice.random() < 0.8 else self.dice.randrange(2**256)

    def confirm(self) -> None:
        """The seed's second step: by one owner, or by as many as it takes."""
        index = self.payment()
        missing = [owner for owner in self.model.owners if owner not in self.model.confirmations(index)]
        if missing and self.dice.random() < 0.4:
            needed = self.model.threshold - len(self.model.confirmations(index))
            for owner in self.dice.sample(missing, min(len(missing), max(1, needed))):
                self.perform(Call("confirmTransaction(uint256)", owner, (index,)))
        else:
            self.perform(Call("confirmTransaction(uint256)", self.owner(), (index,)))

    def execute(self) -> None:
        """The seed's third step."""
        complete = [index for index, payment in self.model.payments.items() if not payment.executed
                    and len(self.model.confirmations(index)) >= self.model.threshold]  # fmt: skip
        index = self.dice.choice(complete) if complete and self.dice.random() < 0.8 else self.payment()
        self.perform(Call("executeTransaction(uint256)", self.account(), (index,)))

    def replay(self) -> None:
        """Something that was executed, once more."""
        if self.executed:
            self.perform(self.dice.choice(self.executed))

    def force(self) -> None:
        """Money that nobody deposited."""
        units = self.amount(1000)
        if self.token is None:
            self.machine.fund(self.contract.address, self.machine.balance(self.contract.address) + units)
        else:
            self.token.send(DEPLOYER, "mint(address,uint256)", self.contract.address, units)
            assert self.model.token is not None
            self.model.token.held[self.contract.address] = self.model.balance + units
        self.model.balance += units
        self.check()

    def step(self) -> None:
        """One of them, at random."""
        self.step_number += 1
        if self.dice.random() < 0.3:
            self.advance(self.dice.choice((1, 3, 600)))
        if self.model.paused and self.dice.random() < 0.3:
            return self.pause() if self.dice.random() < 0.6 else self.wait()
        actions: dict[Callable[[], None], int] = {
            self.deposit: 18, self.batch: 16, self.root: 6, self.claim: 9, self.rotate: 4, self.pause: 4,
            self.owner_pause: 3, self.wait: 3, self.withdraw: 14, self.replay: 3, self.force: 1,
        }  # fmt: skip
        path = {self.propose: 6, self.confirm: 14, self.execute: 5}
        actions |= path if self.model.compatible else dict.fromkeys(path, 1)
        return self.dice.choices(list(actions), list(actions.values()))[0]()


def walk(seed: int, steps: int, hits: Counter[str], made: Mapping[str, Any] | None = None) -> int:
    """One world, so many steps; how many were made. Raises Mismatch. `made`: other code than the artifact's."""
    made = made or artifact("PotSettlement")
    world = World(seed, made["bytecode"], made["abi"], hits)
    for _ in range(steps):
        world.step()
    world.check(everybody=True)
    return world.step_number


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; code 1 when contract and model differ."""
    parser = argparse.ArgumentParser(description="Random walks of PotSettlement against its model.")
    parser.add_argument("--seeds", default=f"{SEEDS[0]}-{SEEDS[-1]}", help="one number, or first-last")
    parser.add_argument("--steps", type=int, default=STEPS)
    words = parser.parse_args(arguments)
    first, _, last = words.seeds.partition("-")
    hits: Counter[str] = Counter()
    failed = 0
    for seed in range(int(first), int(last or first) + 1):
        try:
            walk(seed, words.steps, hits)
        except Mismatch as fault:
            failed += 1
            print(f"seed {seed}: {fault}")
            print(f"  again: python tests/settlement_walk.py --seeds {seed} --steps {words.steps}")
    for name, count in sorted(hits.items()):
        print(f"{count:8}  {name}")
    return 1 if failed else 0


def missing(hits: Mapping[str, int], wanted: Iterable[str], least: int) -> dict[str, int]:
    """What was hit less than `least` times."""
    return {name: hits.get(name, 0) for name in wanted if hits.get(name, 0) < least}


if __name__ == "__main__":
    sys.exit(main())
