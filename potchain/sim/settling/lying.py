"""An operator that lies about Layer 2, in place of the shipping settler: at most f of these.

It has its own keys and sees the chain as it is. What it can do is what the fault model gives it: sign rubbish and what
it should not sign, vote for events that never were or are not deep enough, change its votes, hold back, and relay with
fees that beat everybody's, in bad calls as well as good ones.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec

from potchain.api.ports import SettlementStatus
from potchain.application.settlement.bodies import ObserveL2, SignBatch
from potchain.codec import encode
from potchain.crypto import keccak256
from potchain.errors import SettlementError
from potchain.gateway import Gateway
from potchain.primitives import NS_PER_MS, NS_PER_S, uint256
from potchain.replica import Replica
from potchain.settlement import BatchSeen, DepositSeen, Layer2Event, PauseSeen
from potchain.settlement.report import SettlerReport
from potchain.settler.duties import sign_body, vote_body
from potchain.settler.node_ledger import NodeLedger
from potchain.settler.relaying import ready_action
from potchain.settler.view import LedgerView
from potchain.sim.layer2.chain import Chain, Mail, signed
from potchain.sim.layer2.contract import Call, call_of
from potchain.sim.settling.settler import SettlingHost, operator_key, relay_key

PAUSE_NS = 300 * NS_PER_MS
DUTIES_PER_ROUND_MAX = 4
RACING_FEE_WEI = 50_000
PAST_POOL = 0.4
"""How often it sends its duties to its peers without asking its own pool, which would refuse some."""

SendRaw = Callable[[tuple[bytes, ...]], None]

Duty = Callable[[int], SignBatch | ObserveL2]
"""Makes a transaction of the ledger with a nonce."""


class LyingSettling:
    """One life of a lying operator."""

    def __init__(
        self, host: SettlingHost, chain: Chain, behaviours: Sequence[str], dice: random.Random, gossip: SendRaw
    ) -> None:
        """`gossip` sends transactions to all peers, past the own pool."""
        self._gossip = gossip
        self._chain = chain
        self._behaviours = behaviours
        self._dice = dice
        self._operator = operator_key(host.index)
        self._relay = relay_key(host.index)
        self._ledger: NodeLedger

    def status(self) -> SettlementStatus:
        """It says that there is none."""
        return SettlementStatus(
            backend="ledger", operator=None, relay_account=None, contract=None, report=SettlerReport(state="off")
        )

    def tear(self) -> bool:
        """It writes nothing down."""
        return False

    def start(self, gateway: Gateway, replica: Replica, certified: Callable[[], int]) -> None:
        """Lie from now on."""
        self._ledger = NodeLedger(gateway, replica, certified)
        asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_NS / NS_PER_S)
            view = self._ledger.settlement_view(self._operator.address)
            if view.contract is None:
                continue
            duties = [duty for name in self._behaviours for duty in BEHAVIOURS[name](self, view)]
            self._dice.shuffle(duties)
            chosen = duties[:DUTIES_PER_ROUND_MAX]
            bodies = [duty(nonce) for nonce, duty in enumerate(chosen, view.next_nonce)]
            transactions = [self._ledger.types.sign(body, self._operator) for body in bodies]
            if self._dice.random() < PAST_POOL:
                self._gossip(tuple([each.raw for each in transactions]))
            else:
                await self._ledger.submit(transactions)

    # --- signatures ---------------------------------------------------------------------------------------------------

    def sign_rubbish(self, view: LedgerView) -> list[Duty]:
        """Bytes that are no signature, or one of something else."""
        other = self._operator.sign_digest(keccak256(b"something else"))
        said = self._dice.choice((self._dice.randbytes(65), other, b"", self._dice.randbytes(64) + b"\x1b"))
        return [self._signature(entry.action.nonce, said) for entry in view.actions]

    def sign_early(self, view: LedgerView) -> list[Duty]:
        """Good signatures, before the block is final, and again when they are there."""
        return [
            self._signature(entry.action.nonce, self._operator.sign_digest(entry.digest)) for entry in view.actions
        ]

    def _signature(self, action_nonce: int, signature: bytes) -> Duty:
        return lambda nonce: sign_body(self._operator.address, nonce, action_nonce, signature)

    # --- votes --------------------------------------------------------------------------------------------------------

    def vote_early(self, view: LedgerView) -> list[Duty]:
        """For events of the newest block."""
        return [self._vote(event) for event in self._chain.events() if event.event_nonce >= view.next_event]

    def vote_invented(self, view: LedgerView) -> list[Duty]:
        """For events that never were."""
        mine, head = self._operator.address, self._chain.head
        payloads = [
            ("deposit", encode(DepositSeen(mine, uint256(10**9)))),
            ("batch", encode(BatchSeen(view.next_executed, uint256(1), mine))),
            ("pause", encode(PauseSeen(view.next_executed, self._dice.random() < 0.5))),
        ]
        kind, payload = self._dice.choice(payloads)
        event = Layer2Event(
            event_nonce=view.next_event + self._dice.randrange(3),
            kind=kind,
            payload=payload,
            block_number=max(0, head.number - self._dice.randrange(8)),
            block_hash=head.hash,
            transaction_hash=keccak256(self._dice.randbytes(8)),
            log_index=0,
        )
        return [self._vote(event)]

    def vote_changed(self, view: LedgerView) -> list[Duty]:
        """For real events, in another block, with another amount, or under another number."""
        duties = []
        for event in self._chain.events()[view.next_event :]:
            changes: tuple[dict[str, object], ...] = (
                {"block_hash": keccak256(event.block_hash)},
                {"block_number": event.block_number + 1},
                {"event_nonce": event.event_nonce + 1},
                {"payload": encode(DepositSeen(self._operator.address, uint256(5))), "kind": "deposit"},
            )
            duties.append(self._vote(msgspec.structs.replace(event, **self._dice.choice(changes))))
        return duties

    def _vote(self, event: Layer2Event) -> Duty:
        return lambda nonce: vote_body(self._operator.address, nonce, event)

    # --- relays -------------------------------------------------------------------------------------------------------

    def race(self, view: LedgerView) -> list[Duty]:
        """Relay every action that is signed before those do whose turn it is, at a fee that wins."""
        for entry in view.actions:
            if entry.is_signed and entry.action.nonce == self._chain.book.next_nonce:
                self._send(call_of(entry.action, [one for _, one in ready_action(entry).signatures]))
        return []

    def relay_rubbish(self, view: LedgerView) -> list[Duty]:
        """Calls that the contract must refuse: too few signatures, other amounts, old ones again."""
        for entry in view.actions:
            signatures = [one for _, one in sorted(entry.signatures)]
            mine = self._operator.sign_digest(entry.digest)
            call = call_of(entry.action, signatures)
            doubled = tuple([2 * amount for amount in call.amounts])
            self._send(
                self._dice.choice(
                    (
                        call_of(entry.action, signatures[:-1]),
                        call_of(entry.action, [mine] * 3),
                        call_of(msgspec.structs.replace(entry.action, nonce=entry.action.nonce + 1), signatures),
                        msgspec.structs.replace(call, amounts=doubled, total=2 * call.total),
                    )
                )
            )
        return []

    def _send(self, call: Call) -> None:
        account = self._relay.address
        nonce = self._chain.head.nonces.get(account, 0)
        fee_wei = RACING_FEE_WEI + self._dice.randrange(RACING_FEE_WEI)
        try:
            self._chain.send(signed(self._relay, Mail(nonce, fee_wei, call)))
        except SettlementError:
            return  # the one before waits still

    def refuse(self, view: LedgerView) -> list[Duty]:
        """Do nothing."""
        return []


BEHAVIOURS: dict[str, Callable[[LyingSettling, LedgerView], list[Duty]]] = {
    "sign-rubbish": LyingSettling.sign_rubbish,
    "sign-early": LyingSettling.sign_early,
    "vote-early": LyingSettling.vote_early,
    "vote-invented": LyingSettling.vote_invented,
    "vote-changed": LyingSettling.vote_changed,
    "race": LyingSettling.race,
    "relay-rubbish": LyingSettling.relay_rubbish,
    "refuse": LyingSettling.refuse,
}
"""What `Layer2Liar.behaviours` may name."""
