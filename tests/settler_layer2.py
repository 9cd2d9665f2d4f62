"""An EVM chain as far as settlement sees it: blocks, forks, a pool of transactions, and PotSettlement's rules.

Signatures are really checked, against the digest that the ledger's operators sign. A block keeps the state after it, so
a reorganisation takes it back and puts its transactions into the pool again, as nodes do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from potchain.codec import encode
from potchain.crypto import keccak256, recover_address
from potchain.errors import SettlementError
from potchain.primitives import uint256
from potchain.settlement import (
    Action,
    BatchSeen,
    ChainView,
    Contract,
    ContractState,
    DepositSeen,
    Layer2Event,
    PauseSeen,
    Prepared,
    ReadyAction,
    RelayState,
    RootSeen,
    RotationSeen,
)
from potchain.settlement.actions import owners_hash
from potchain.settlement.digests import action_digest
from potchain.settlement.interface import EVENTS_PER_CALL_MAX

Boundary = Callable[[str], None]
"""Told of each step that a crash may precede."""


class Call(msgspec.Struct, frozen=True, array_like=True):
    """What a transaction holds: an action with its signatures, or a deposit."""

    account: bytes
    account_nonce: int
    fee_wei: int
    action: Action | None
    signatures: tuple[tuple[bytes, bytes], ...] = ()
    deposit: int = 0

    @property
    def hash(self) -> bytes:
        """Its name."""
        return keccak256(msgspec.msgpack.encode(self))


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The contract and its accounts after a block."""

    next_nonce: int = 0
    next_event: int = 0
    epoch: int = 0
    owners: tuple[bytes, ...]
    threshold: int
    deposited: int = 0
    allocated: int = 0
    paused: bool = False
    rewards: Mapping[bytes, int] = {}
    account_nonces: Mapping[bytes, int] = {}


class Mined(msgspec.Struct, frozen=True, kw_only=True):
    """A block."""

    number: int
    hash: bytes
    calls: tuple[Call, ...]
    results: tuple[str, ...]
    """Of each call: empty, or why it was refused."""
    events: tuple[Layer2Event, ...]
    state: State


class Layer2:
    """The chain."""

    def __init__(self, contract: Contract, owners: tuple[bytes, ...], threshold: int) -> None:
        self.contract = contract
        genesis = State(owners=tuple(sorted(owners)), threshold=threshold)
        self.blocks = [Mined(number=0, hash=keccak256(b"0"), calls=(), results=(), events=(), state=genesis)]
        self.pool: dict[tuple[bytes, int], Call] = {}
        self.fee_wei = 10
        """What the chain asks; a transaction that offers less waits."""
        self.forks = 0
        self.is_empty_wallet = False

    @property
    def head(self) -> Mined:
        """The newest block."""
        return self.blocks[-1]

    @property
    def state(self) -> State:
        """After the newest block."""
        return self.head.state

    def mine(self, count: int = 1) -> None:
        """Make blocks of what the pool holds."""
        for _ in range(count):
            self._mine()

    def reorganise(self, depth: int, *, drop: bool = False) -> None:
        """Take blocks back and make as many others, empty ones; the transactions go back to the pool, or are lost."""
        gone = self.blocks[len(self.blocks) - depth :]
        del self.blocks[len(self.blocks) - depth :]
        self.forks += 1
        if not drop:
            for block in gone:
                for call in block.calls:
                    self.pool.setdefault((call.account, call.account_nonce), call)
        kept, self.pool = self.pool, {}
        for _ in range(depth):
            self._mine()
        self.pool = kept

    def lose_pool(self) -> None:
        """Every endpoint was restarted."""
        self.pool.clear()

    def send(self, call: Call) -> None:
        """As eth_sendRawTransaction. Raises SettlementError."""
        place = (call.account, call.account_nonce)
        known = self.pool.get(place)
        if call.account_nonce < self.state.account_nonces.get(call.account, 0):
            if self.receipt(call.hash) is None:
                raise SettlementError("refused", "nonce too low")
            return
        if known is not None and known != call and call.fee_wei * 10 < known.fee_wei * 11:
            raise SettlementError("refused", "replacement transaction underpriced")
        self.pool[place] = call

    def deposit(self, account: bytes, amount: int) -> None:
        """Somebody pays in."""
        taken = self.state.account_nonces.get(account, 0)
        while (account, taken) in self.pool:
            taken += 1
        self.send(Call(account, taken, 1_000_000_000, None, (), amount))

    def receipt(self, transaction_hash: bytes) -> tuple[int, str] | None:
        """(block number, why it was refused)"""
        for block in reversed(self.blocks):
            for call, result in zip(block.calls, block.results, strict=True):
                if call.hash == transaction_hash:
                    return block.number, result
        return None

    def executions(self) -> list[int]:
        """Nonces of executed actions, in order."""
        return [
            call.action.nonce
            for block in self.blocks
            for call, result in zip(block.calls, block.results, strict=True)
            if call.action is not None and not result
        ]

    def refusals(self) -> list[str]:
        """Why relayers' transactions were refused."""
        return [
            result
            for block in self.blocks
            for call, result in zip(block.calls, block.results, strict=True)
            if call.action is not None and result
        ]

    def events(self) -> list[Layer2Event]:
        """All of them, in order."""
        return [event for block in self.blocks for event in block.events]

    # --- execution --------------------------------------------------------------------------------------------------

    def _mine(self) -> None:
        number = self.head.number + 1
        name = keccak256(f"{number}/{self.forks}".encode() + self.head.hash)
        state, calls, results, events = self.state, [], [], []
        while True:
            ready = [
                call
                for (account, nonce), call in self.pool.items()
                if nonce == state.account_nonces.get(account, 0) and call.fee_wei >= self.fee_wei
            ]
            if not ready:
                break
            call = max(ready, key=lambda each: (each.fee_wei, each.account))
            del self.pool[call.account, call.account_nonce]
            nonces = {**state.account_nonces, call.account: call.account_nonce + 1}
            state = msgspec.structs.replace(state, account_nonces=nonces)
            result, state, seen = self._execute(state, call)
            if seen is not None:
                kind, payload = seen
                event = Layer2Event(
                    event_nonce=state.next_event - 1,
                    kind=kind,
                    payload=payload,
                    block_number=number,
                    block_hash=name,
                    transaction_hash=call.hash,
                    log_index=len(events),
                )
                events.append(event)
            calls.append(call)
            results.append(result)
        for account, nonce in [place for place in self.pool if place[1] < state.account_nonces.get(place[0], 0)]:
            del self.pool[account, nonce]
        block = Mined(
            number=number, hash=name, calls=tuple(calls), results=tuple(results), events=tuple(events), state=state
        )
        self.blocks.append(block)

    def _execute(self, state: State, call: Call) -> tuple[str, State, tuple[str, bytes] | None]:
        changed = msgspec.structs.replace
        event = {"next_event": state.next_event + 1}
        if call.action is None:
            state = changed(state, deposited=state.deposited + call.deposit, **event)
            return "", state, ("deposit", encode(DepositSeen(call.account, uint256(call.deposit))))
        action = call.action
        refusal = self.refusal(state, action, call.signatures)
        if refusal:
            return refusal, state, None
        event["next_nonce"] = state.next_nonce + 1
        if action.kind in ("batch", "root"):
            rewards = dict(state.rewards)
            for entry in action.entries:
                rewards[entry.account] = rewards.get(entry.account, 0) + int.from_bytes(entry.amount, "big")
            state = changed(state, allocated=state.allocated + action.total, rewards=rewards, **event)
            total = uint256(action.total)
            if action.kind == "root":
                return "", state, ("root", encode(RootSeen(action.nonce, action.root, total, call.account)))
            return "", state, ("batch", encode(BatchSeen(action.nonce, total, call.account)))
        if action.kind == "rotate":
            state = changed(
                state, epoch=state.epoch + 1, owners=action.owners, threshold=action.threshold, **event
            )
            seen = RotationSeen(action.nonce, state.epoch, owners_hash(action.owners), action.threshold)
            return "", state, ("rotate", encode(seen))
        state = changed(state, paused=action.paused, **event)
        return "", state, ("pause", encode(PauseSeen(action.nonce, action.paused)))

    def refusal(self, state: State, action: Action, signatures: tuple[tuple[bytes, bytes], ...]) -> str:
        """Why the contract would not execute it; empty if it would."""
        if action.nonce != state.next_nonce:
            return f"WrongNonce({action.nonce}, {state.next_nonce})"
        if action.epoch != state.epoch:
            return f"WrongEpoch({action.epoch}, {state.epoch})"
        digest = action_digest(self.contract, action)
        signers = [recover_address(digest, signature) for _, signature in signatures]
        if signers != sorted(set(signers)) or not set(signers) <= set(state.owners):
            return "BadSignatures()"
        if len(signers) < state.threshold:
            return f"TooFewSignatures({len(signers)}, {state.threshold})"
        if action.kind in ("batch", "root"):
            if state.paused:
                return "EnforcedPause()"
            if action.total > state.deposited - state.allocated:
                return f"Underfunded({action.total}, {state.deposited - state.allocated})"
        return ""


class ScriptedBackend:
    """A back end over that chain. `boundary` is called before and after everything that a crash may cut short."""

    def __init__(
        self, chain: Layer2, account: bytes, confirmations: int, relay_ahead: int, boundary: Boundary
    ) -> None:
        self.chain = chain
        self.account = account
        self.confirmations = confirmations
        self.boundary = boundary
        self.relay_ahead = relay_ahead
        self.calls: list[str] = []
        self.down: SettlementError | None = None

    async def open(self) -> None:
        """Nothing to check."""
        self._begin("open")

    async def close(self) -> None:
        """Nothing to end."""

    async def observe(self, next_event_nonce: int) -> ChainView:
        """The head, and events that are deep enough."""
        self._begin("observe")
        chain, head = self.chain, self.chain.head
        confirmed = head.number - self.confirmations
        events = [event for event in chain.events() if event.block_number <= confirmed]
        state = head.state
        return ChainView(
            chain_id=chain.contract.chain_id,
            head_number=head.number,
            head_hash=head.hash,
            head_time_s=1_700_000_000 + head.number,
            confirmed_number=confirmed,
            contract=ContractState(
                next_nonce=state.next_nonce,
                next_event_nonce=state.next_event,
                epoch=state.epoch,
                threshold=state.threshold,
                owners=state.owners,
                deposited=state.deposited,
                allocated=state.allocated,
                paused=state.paused,
            ),
            events=tuple(events[next_event_nonce : next_event_nonce + EVENTS_PER_CALL_MAX]),
        )

    async def stands(self, event: Layer2Event) -> bool:
        """Whether the block is still there."""
        self._begin("stands")
        blocks = self.chain.blocks
        return event.block_number < len(blocks) and blocks[event.block_number].hash == event.block_hash

    async def prepare(self, ready: ReadyAction, now_ms: int, replaces: Prepared | None = None) -> Prepared:
        """A transaction with the account's next nonce, or the place and a higher fee of another.

        One that cannot go ahead gives the nonce after the mined ones, as potchain_multisig does.
        """
        self._begin("prepare")
        chain = self.chain
        if chain.is_empty_wallet:
            raise SettlementError("empty_wallet", "the relay account has 0 wei")
        if ready.action.nonce < chain.state.next_nonce:
            raise SettlementError("would_revert", chain.refusal(chain.state, ready.action, ready.signatures))
        if ready.action.nonce == chain.state.next_nonce or self.relay_ahead == 1:
            refusal = chain.refusal(chain.state, ready.action, ready.signatures)
            if refusal:
                raise SettlementError("would_revert", refusal)
        nonce, fee, attempt = chain.state.account_nonces.get(self.account, 0), chain.fee_wei, 0
        while self.relay_ahead > 1 and (self.account, nonce) in chain.pool:
            nonce += 1
        if replaces is not None:
            nonce, attempt = replaces.account_nonce, replaces.attempt + 1
            fee = max(fee, replaces.fee_per_gas_wei * 9 // 8 + 1)
        call = Call(self.account, nonce, fee, ready.action, ready.signatures)
        return Prepared(
            action_nonce=ready.action.nonce,
            attempt=attempt,
            account=self.account,
            account_nonce=nonce,
            transaction_hash=call.hash,
            raw=msgspec.msgpack.encode(call),
            fee_per_gas_wei=fee,
            prepared_ms=now_ms,
        )

    async def submit(self, prepared: Prepared) -> None:
        """Into the pool."""
        self._begin("submit")
        self.chain.send(msgspec.msgpack.decode(prepared.raw, type=Call))
        self.boundary("submitted")

    async def follow(self, prepared: Prepared) -> RelayState:
        """From the blocks and the pool."""
        self._begin("follow")
        chain = self.chain
        found = chain.receipt(prepared.transaction_hash)
        if found is not None:
            number, refusal = found
            deep = chain.head.number - number
            return RelayState(phase="reverted" if refusal else "mined", confirmations=deep, detail=refusal)
        place = (prepared.account, prepared.account_nonce)
        if place in chain.pool and chain.pool[place].hash == prepared.transaction_hash:
            return RelayState(phase="pending")
        if chain.state.account_nonces.get(prepared.account, 0) > prepared.account_nonce:
            return RelayState(phase="replaced")
        return RelayState(phase="unknown")

    def _begin(self, what: str) -> None:
        self.boundary(what)
        self.calls.append(what)
        if self.down is not None:
            raise self.down
