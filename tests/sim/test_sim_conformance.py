"""PBFT passes the conformance kit in one line, and engines that break the contract do not."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from potchain.consensus.interface import Boot, Discard, Effects, Event, MessageReceived, SetTimer
from potchain.primitives import NodeId
from potchain.testing import ConformanceCase, RecordedEngine, conformance_cases, engine_conformance
from potchain_pbft import PbftFactory

test_conformance = engine_conformance(PbftFactory(), seeds=1, twins=3, crashes=4)


class Wrapped:
    """An engine with something wrong in what it answers."""

    def __init__(self, engine: Any, spoil: Any) -> None:  # noqa: ANN401
        self._engine = engine
        self._spoil = spoil

    def step(self, event: Event, now_ns: int) -> Effects:
        changed: Effects = self._spoil(event, self._engine.step(event, now_ns))
        return changed

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._engine, name)


class WrongFactory(PbftFactory):
    """PBFT, spoilt."""

    def __init__(self, spoil: Any = None) -> None:  # noqa: ANN401
        self._spoil = spoil

    def create(self, boot: Boot, options: msgspec.Struct) -> Any:  # noqa: ANN401
        return Wrapped(super().create(boot, options), self._spoil)


def raises(event: Event, effects: Effects) -> Effects:
    if any(isinstance(report, Discard) and report.blame for report in effects.report):
        raise ValueError("this engine has no manners")
    return effects


_births = itertools.count()


def drifts(event: Event, effects: Effects) -> Effects:
    return msgspec.structs.replace(effects, timers=(*effects.timers, SetTimer("drift", 10**12 + next(_births))))


def talks_to_strangers(event: Event, effects: Effects) -> Effects:
    sends = tuple(msgspec.structs.replace(send, to=NodeId(b"x" * 20)) for send in effects.send)
    return msgspec.structs.replace(effects, send=sends)


def votes_for_blocks(event: Event, effects: Effects) -> Effects:
    sends = tuple(msgspec.structs.replace(send, kind="block-vote") for send in effects.send)
    return msgspec.structs.replace(effects, send=sends)


def decides_twice(event: Event, effects: Effects) -> Effects:
    return msgspec.structs.replace(effects, decide=effects.decide * 2)


class GullibleFactory(PbftFactory):
    """Takes any certificate."""

    def verify(self, *_: object) -> None:
        """Everything is fine."""


def case(factory: PbftFactory, name: str) -> ConformanceCase:
    return next(each for each in conformance_cases(factory) if each.name.startswith(name))


def test_an_engine_that_raises_on_rubbish_fails() -> None:
    with pytest.raises((ValueError, AssertionError), match="no manners"):
        case(WrongFactory(raises), "rubbish").check()


def test_an_engine_that_remembers_across_births_fails() -> None:
    with pytest.raises(AssertionError, match="gave"):
        case(WrongFactory(drifts), "determinism: a tape").check()


def test_an_engine_that_takes_any_certificate_fails() -> None:
    with pytest.raises(AssertionError, match="proves"):
        case(GullibleFactory(), "order certificates").check()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [(decides_twice, "decided twice"), (talks_to_strangers, "to a stranger"), (votes_for_blocks, "the host's")],
)
def test_effects_outside_the_contract_fail(spoil: Any, complaint: str) -> None:  # noqa: ANN401
    from potchain.testing.conformance import _check_effects

    tape = decided_tape()
    _check_effects(tape)
    for number, step in enumerate(tape.steps):
        effects = spoil(step.event, step.effects)
        if effects != step.effects:
            tape.steps[number] = msgspec.structs.replace(step, effects=effects)
    with pytest.raises(AssertionError, match=complaint):
        _check_effects(tape)


def test_tapes_hold_what_was_said() -> None:
    tape = decided_tape()
    assert any(isinstance(step.event, MessageReceived) for step in tape.steps)
    assert [step.now_ns for step in tape.steps] == sorted(step.now_ns for step in tape.steps)


def decided_tape() -> RecordedEngine:
    from potchain.sim.cluster import run
    from potchain.sim.plan import Plan, Workload
    from potchain.testing import RecordingFactory

    recording = RecordingFactory(PbftFactory())
    plan = Plan(
        seed=1, heal_ns=None, duration_ns=1_500_000_000, workload=Workload(transactions=4, until_ns=900_000_000)
    )
    run(plan, recording)
    return max(recording.engines, key=lambda engine: len(engine.steps))
