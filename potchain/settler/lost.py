"""Executed actions that a deep reorganisation of Layer 2 took back: their transactions are sent once more. Pure.

Theory of operation. When the ledger has applied the execution of an action, its signatures are gone from the state and
nothing can be prepared for it any more. But the transaction that executed it is still good wherever the chain is again
as it was before: same account nonce, same signatures, and the contract executes the action once, whoever sends it and
how often. Nodes that hold such transactions in their pools send them on by themselves; this makes sure of it. So the
settler of the relayer keeps the newest ones in memory, and sends the one whose turn it is when the contract stands
before an action that the ledger knows to be executed. Nothing else is relayed then, and people are told all the same:
deposits that are gone are beyond us.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from potchain.primitives import NS_PER_S
from potchain.settler.memory import Memory, Mined, Sight
from potchain.settler.slots import Slot
from potchain.settler.steps import Submit
from potchain.settler.view import LedgerView

MINED_MAX = 64
"""Transactions that are kept: of as many actions, the newest."""
AGAIN_NS = 5 * NS_PER_S
"""Between two tries."""


def kept(memory: Memory, slots: Iterable[Slot]) -> Memory:
    """The memory with own transactions that executed something."""
    mined = dict(memory.mined)
    for slot in slots:
        if slot.state == "mined" and slot.settled_by is not None:
            mined[slot.settled_by.action_nonce] = Mined(slot.settled_by)
    for nonce in sorted(mined)[:-MINED_MAX]:
        del mined[nonce]
    return msgspec.structs.replace(memory, mined=mined)


def sent_again(ledger: LedgerView, sight: Sight, now_ns: int, memory: Memory) -> tuple[tuple[Submit, ...], Memory]:
    """What to send again now: nothing, as long as the contract has executed all that the ledger knows executed."""
    nonce = sight.chain.contract.next_nonce
    known = memory.mined.get(nonce)
    if known is None or nonce >= ledger.next_executed or now_ns < known.again_ns:
        return (), memory
    tried = msgspec.structs.replace(known, again_ns=now_ns + AGAIN_NS)
    memory = msgspec.structs.replace(memory, mined={**memory.mined, nonce: tried})
    return (Submit(prepared=known.prepared),), memory
