"""Several endpoints held against each other: what enough of them say alike is taken for the chain's word.

Theory of operation. Every dealing with the chain begins with `look`: each endpoint says its chain id and its newest
block; those of another chain are left out. The head is the highest block that as many endpoints have as must agree,
and all that follows is asked of the endpoints that gave that block, about the state after it, by its hash: so the
answers of honest endpoints are equal, and one that differs is wrong. Where the newest blocks differ (two blocks at one
height are normal for a moment), an older one is taken that they have in common.

One liar among enough honest endpoints is outvoted and named in `notes`; where too few agree, nothing is believed and
the fault says who said what.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from potchain import SettlementError
from potchain_multisig.answers import Block
from potchain_multisig.endpoints import Endpoint

T = TypeVar("T")
FORK_STEPS = (0, 1, 2, 4, 8, 16, 32, 64)
"""Blocks below the highest common height at which a common block is looked for."""
GRAVITY = (
    "wrong_chain", "rubbish", "lagging", "wrong_contract", "paused", "underfunded", "would_revert", "refused",
    "unreachable",
)  # fmt: skip
"""Of several faults, the first of these names the whole."""
SAID_MAX = 80
"""Characters shown of what an endpoint said."""


class Look(msgspec.Struct, frozen=True):
    """The head, and who agreed on it."""

    head: Block
    members: tuple[Endpoint, ...]


class Panel:
    """The endpoints of one chain."""

    def __init__(
        self, endpoints: Sequence[Endpoint], agreement: int, chain_id: int, lag_blocks_max: int, stalled_after_ms: int
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._needed = agreement or len(self._endpoints)
        self._chain_id = chain_id
        self._lag_blocks_max = lag_blocks_max
        self._stalled_after_s = stalled_after_ms / 1000
        self._notes: dict[str, str] = {}
        self._newest = (b"", 0.0)
        """Hash of the last head, and the loop's time when it was first seen."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Endpoints that were left out or outvoted since the last look began, and why; one line each at most."""
        return tuple(self._notes.values())

    async def look(self) -> Look:
        """The newest block that enough endpoints share.

        Raises SettlementError: `wrong_chain`, `unreachable`, `rubbish`, `lagging`, `disagreement`.
        """
        self._notes.clear()
        heads, faults = await self._attempt(self._endpoints, self._introduced)
        self._require(heads, faults)
        height = self._common_height(heads)
        reached = [endpoint for head, endpoint in heads if head.number >= height]
        said = heads
        for step in FORK_STEPS:
            number = height - step
            if number < 0:
                break
            if step or any(head.number != height for head, _ in heads):
                said, faults = await self._attempt(reached, _block_at(number))
                self._require(said, faults)
            chosen = self._chosen(said)
            if chosen is not None:
                head, members = chosen
                self._note_others(said, members, f"block {number}")
                self._require_progress(head)
                return Look(head, tuple(members))
        raise SettlementError("disagreement", f"no common block from {height} down: {_listed(said)}")

    async def agreed(self, look: Look, question: Callable[[Endpoint], Awaitable[T]], what: str) -> T:
        """The answer of enough members. Raises SettlementError: `disagreement`, `unreachable`, `rubbish`."""
        said, faults = await self._attempt(look.members, question)
        self._require(said, faults)
        chosen = self._chosen(said)
        if chosen is None:
            raise SettlementError("disagreement", f"about {what}: {_listed(said)}")
        answer, members = chosen
        self._note_others(said, members, what)
        return answer

    async def settled(self, look: Look, question: Callable[[Endpoint], Awaitable[T | None]]) -> T | None:
        """The answer of enough members; None when enough say so, and as long as they differ: for what is on its way.

        Raises SettlementError when too few answer.
        """
        said, faults = await self._attempt(look.members, question)
        self._require(said, faults)
        chosen = self._chosen(said)
        return None if chosen is None else chosen[0]

    async def views(self, look: Look, question: Callable[[Endpoint], Awaitable[T]]) -> list[T]:
        """What each member thinks, of what has no one truth. Raises SettlementError when too few answer."""
        said, faults = await self._attempt(look.members, question)
        self._require(said, faults)
        return [answer for answer, _ in said]

    async def opinions(self, question: Callable[[Endpoint], Awaitable[T]]) -> tuple[list[T], list[SettlementError]]:
        """What every endpoint says, agreed or not, and the faults of those that said nothing."""
        said, faults = await self._attempt(self._endpoints, question)
        return [answer for answer, _ in said], [fault for fault, _ in faults]

    async def _introduced(self, endpoint: Endpoint) -> Block:
        chain_id, head = await asyncio.gather(endpoint.chain_id(), endpoint.block())
        if chain_id != self._chain_id:
            raise SettlementError(
                "wrong_chain", f"{endpoint.name} serves chain {chain_id}; the contract is on chain {self._chain_id}"
            )
        return head

    async def _attempt(
        self, endpoints: Sequence[Endpoint], question: Callable[[Endpoint], Awaitable[T]]
    ) -> tuple[list[tuple[T, Endpoint]], list[tuple[SettlementError, Endpoint]]]:
        """All at once; answers and faults, each in the order of the endpoints."""

        async def one(endpoint: Endpoint) -> T | SettlementError:
            try:
                return await question(endpoint)
            except SettlementError as fault:
                self._notes[endpoint.name] = str(fault)
                return fault

        outcomes = await asyncio.gather(*(one(endpoint) for endpoint in endpoints))
        answers, faults = [], []
        for outcome, endpoint in zip(outcomes, endpoints, strict=True):
            if isinstance(outcome, SettlementError):
                faults.append((outcome, endpoint))
            else:
                answers.append((outcome, endpoint))
        return answers, faults

    def _require(self, said: Sequence[object], faults: Sequence[tuple[SettlementError, Endpoint]]) -> None:
        if len(said) >= self._needed:
            return
        codes = [fault.code for fault, _ in faults]
        code = next((code for code in GRAVITY if code in codes), "unreachable")
        why = "; ".join(self._notes.values()) or "; ".join(fault.detail for fault, _ in faults)
        counts = f"{len(said)} of {len(self._endpoints)} endpoints answer, {self._needed} must agree"
        raise SettlementError(code, f"{counts}: {why}")

    def _common_height(self, heads: Sequence[tuple[Block, Endpoint]]) -> int:
        """The highest block that enough endpoints have. One far ahead of the others proves nothing: it may lie."""
        heights = sorted((head.number for head, _ in heads), reverse=True)
        common = heights[self._needed - 1]
        near = sum(abs(height - common) <= self._lag_blocks_max for height in heights)
        shown = ", ".join(f"{endpoint.name} is at {head.number}" for head, endpoint in heads)
        if near < self._needed:
            raise SettlementError("lagging", f"endpoints are more than {self._lag_blocks_max} blocks apart: {shown}")
        for head, endpoint in heads:
            if abs(head.number - common) > self._lag_blocks_max:
                self._notes[endpoint.name] = f"lagging: {endpoint.name} is at block {head.number}, others at {common}"
        return common

    def _require_progress(self, head: Block) -> None:
        now = asyncio.get_running_loop().time()
        if self._newest[0] != head.hash:
            self._newest = (head.hash, now)
        elif self._stalled_after_s and now - self._newest[1] > self._stalled_after_s:
            raise SettlementError("lagging", f"no new block after {head.number} for {now - self._newest[1]:.0f} s")

    def _chosen(self, answers: Sequence[tuple[T, Endpoint]]) -> tuple[T, list[Endpoint]] | None:
        enough = [(answer, members) for answer, members in _grouped(answers) if len(members) >= self._needed]
        return enough[0] if len(enough) == 1 else None

    def _note_others(self, answers: Sequence[tuple[object, Endpoint]], members: Sequence[Endpoint], what: str) -> None:
        for answer, endpoint in answers:
            if endpoint not in members:
                self._notes[endpoint.name] = f"disagreement: {endpoint.name} is alone about {what}: {_shown(answer)}"


def _block_at(number: int) -> Callable[[Endpoint], Awaitable[Block]]:
    return lambda endpoint: endpoint.block(number)


def _grouped(answers: Sequence[tuple[T, Endpoint]]) -> list[tuple[T, list[Endpoint]]]:
    groups: list[tuple[T, list[Endpoint]]] = []
    for answer, endpoint in answers:
        for known, members in groups:
            if known == answer:
                members.append(endpoint)
                break
        else:
            groups.append((answer, [endpoint]))
    return groups


def _listed(answers: Sequence[tuple[object, Endpoint]]) -> str:
    return "; ".join(f"{endpoint.name} says {_shown(answer)}" for answer, endpoint in answers)


def _shown(answer: object) -> str:
    if isinstance(answer, Block):
        return f"block {answer.number} is 0x{answer.hash.hex()}"
    if isinstance(answer, bytes):
        answer = "0x" + answer.hex()
    text = str(answer)
    return text if len(text) <= SAID_MAX else text[:SAID_MAX] + "…"
