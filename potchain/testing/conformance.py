"""What every consensus engine must do for its host, as test cases: `engine_conformance(factory)`.

The kit knows nothing of the protocol. It runs whole nodes with the engine in the simulator, keeps what every engine was
told and answered, and holds both against the contract of `potchain.consensus.interface`. Rubbish and floods are made
from the messages that the engine's own runs showed, so they are of its kinds.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from potchain.blocks import BLOCK_VOTE, proposal_digest
from potchain.consensus.interface import (
    MESSAGE_BYTES_MAX,
    ConsensusEngine,
    ConsensusMessage,
    Discard,
    EngineFactory,
    MessageReceived,
    SetTimer,
    Started,
)
from potchain.crypto import SigningKey
from potchain.errors import CodecError, InvalidProof
from potchain.sim.campaign import first_violation, run_plan
from potchain.sim.checkers.bounds import bound_of
from potchain.sim.cluster import run
from potchain.sim.crash_sweep import base_plans, crash_plans, crash_points, sampled
from potchain.sim.forging import Forger
from potchain.sim.plan import Outcome, Plan, Workload
from potchain.sim.profiles import PROFILES, plan_of
from potchain.sim.report import violation_text
from potchain.sim.twins import twins_plans
from potchain.testing.recording import RecordedEngine, RecordingFactory, effect_bytes, replay

SEEDS = 3
"""Seeds of each profile."""
TWINS = 12
CRASHES = 20
RUBBISH = 300
"""Spoilt messages that an engine is given, for each tape that is tried."""
FLOOD = 3_000
TAPES_TRIED = 4

_DIGEST_OF_A_RUN = """
import sys, importlib
from potchain.sim.campaign import run_plan
from potchain.sim.profiles import plan_of
factory = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])()
print(run_plan(plan_of("mixed", int(sys.argv[3])), factory).trace_digest)
"""


class ConformanceCase(msgspec.Struct, frozen=True):
    """One promise of an engine, and how to find out."""

    name: str
    check: Callable[[], None]
    """Raises AssertionError, saying what is wrong."""

    def __repr__(self) -> str:
        return self.name


def engine_conformance(
    factory: EngineFactory, *, seeds: int = SEEDS, twins: int = TWINS, crashes: int = CRASHES, nodes: int = 4
) -> Callable[[ConformanceCase], None]:
    """A test function for pytest with one case for each promise: `test_conformance = engine_conformance(MyFactory())`.

    `seeds` of each profile, `twins` scenarios and `crashes` of the crash sweep are run; raise them for a night.
    """
    import pytest

    cases = list(conformance_cases(factory, seeds=seeds, twins=twins, crashes=crashes, nodes=nodes))

    @pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])
    def test_conformance(case: ConformanceCase) -> None:
        case.check()

    return test_conformance


def conformance_cases(
    factory: EngineFactory, *, seeds: int = SEEDS, twins: int = TWINS, crashes: int = CRASHES, nodes: int = 4
) -> Iterator[ConformanceCase]:
    """The cases, for other test runners."""
    kit = _Kit(factory, nodes)
    yield ConformanceCase("determinism: a tape played again", kit.replays)
    yield ConformanceCase("determinism: two runs of one plan", kit.same_trace)
    yield ConformanceCase("determinism: another PYTHONHASHSEED", kit.same_trace_elsewhere)
    yield ConformanceCase("effects keep to the contract", kit.effects)
    yield ConformanceCase("order certificates prove what they should and nothing else", kit.certificates)
    yield ConformanceCase("status and dump", kit.pictures)
    yield ConformanceCase("rubbish never raises", kit.rubbish)
    yield ConformanceCase("buffers are bounded under a flood", kit.flood)
    for count in (1, 2, 3):
        yield ConformanceCase(f"{count} of {count} nodes", partial(kit.small, count))
    for profile in PROFILES:
        plans = [plan_of(profile, seed, nodes) for seed in range(1, seeds + 1)]
        yield ConformanceCase(f"profile {profile}", partial(kit.holds, plans))
    yield ConformanceCase("twins", partial(kit.holds, list(twins_plans(twins))))
    yield ConformanceCase("crash sweep", partial(kit.crash_sweep, crashes))


class _Kit:
    def __init__(self, factory: EngineFactory, nodes: int) -> None:
        self._factory = factory
        self._nodes = nodes
        self._recorded: list[RecordedEngine] = []

    # --- whole runs ---------------------------------------------------------------------------------------------------

    def holds(self, plans: list[Plan]) -> None:
        """No plan breaks a promise."""
        _assert_kept(first_violation(self._factory, plans))

    def small(self, count: int) -> None:
        """A network without room for a fault makes progress."""
        plan = Plan(seed=count, nodes=count, workload=Workload(transactions=10, until_ns=2_000_000_000))
        outcome = run_plan(plan, self._factory)
        _assert_kept(outcome)
        assert outcome.transactions == 10, f"{outcome.transactions} of 10 transactions with {count} nodes"

    def crash_sweep(self, count: int) -> None:
        """A sample of crash points of each base plan."""
        for base in base_plans(self._nodes):
            outcome, points = crash_points(base, self._factory)
            _assert_kept(outcome)
            self.holds(sampled(crash_plans(base, points), max(1, count // 2)))

    def same_trace(self) -> None:
        """Byte for byte, with faults and liars in it."""
        plan = plan_of("mixed", 1, self._nodes)
        first, second = (run_plan(plan, self._factory) for _ in range(2))
        assert first == second, f"seed 1 of mixed gave {first} and then {second}"

    def same_trace_elsewhere(self) -> None:
        """In other processes, with other hash seeds."""
        kind = type(self._factory)
        command = [sys.executable, "-c", _DIGEST_OF_A_RUN, kind.__module__, kind.__qualname__, "2"]
        digests = set()
        for hash_seed in ("1", "2"):
            environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            digests.add(done.stdout.strip())
        assert len(digests) == 1, f"two hash seeds gave two traces of one plan: {sorted(digests)}"

    # --- tapes --------------------------------------------------------------------------------------------------------

    def replays(self) -> None:
        """Same boot and same events give byte-identical effects."""
        for tape in self._tapes():
            _, difference = replay(self._factory, tape)
            assert not difference, difference

    def effects(self) -> None:
        """Every effect of every engine is one that a host can carry out."""
        for tape in self._tapes():
            _check_effects(tape)

    def certificates(self) -> None:
        """`verify` takes every decision's certificate, for its own place and digest, and no spoilt one."""
        dice = random.Random("potchain.testing.certificates")
        decided = 0
        for tape in self._tapes():
            boot = tape.boot
            for decision in [each for step in tape.steps for each in step.effects.decide][:20]:
                decided += 1
                right = (boot.genesis_hash, boot.epoch, decision.sequence, decision.digest)
                self._factory.verify(decision.certificate, *right)
                for wrong in (
                    (bytes(32), boot.epoch, decision.sequence, decision.digest),
                    (boot.genesis_hash, boot.epoch, decision.sequence + 1, decision.digest),
                    (boot.genesis_hash, boot.epoch, decision.sequence, bytes(32)),
                ):
                    assert not self._verifies(decision.certificate, wrong), f"a certificate proves {wrong[2:]}, too"
                for _ in range(10):
                    data = _spoilt(decision.certificate.data, dice)
                    changed = msgspec.structs.replace(decision.certificate, data=data)
                    assert not self._verifies(changed, right), f"a spoilt certificate verifies: {data.hex()}"
        assert decided, "no engine decided anything in a calm run"

    def _verifies(self, certificate: Any, place: tuple[Any, ...]) -> bool:  # noqa: ANN401
        try:
            self._factory.verify(certificate, *place)
        except InvalidProof:
            return False
        return True

    def pictures(self) -> None:
        """After any number of steps both can be had, and neither changes anything."""
        for tape in self._tapes()[:TAPES_TRIED]:
            engine = self._factory.create(tape.boot, tape.options)
            for step in tape.steps:
                status = engine.status()
                msgspec.json.encode(status)
                assert all(isinstance(size, int) and size >= 0 for size in status.buffers.values()), status.buffers
                json.loads(engine.dump())
                effects = engine.step(step.event, step.now_ns)
                assert effect_bytes(effects) == effect_bytes(step.effects), "status or dump changed the engine"

    def rubbish(self) -> None:
        """Messages that are spoilt in any field come out as reports, and the pure functions refuse them politely."""
        for number, tape in enumerate(self._tapes()[:TAPES_TRIED]):
            dice = random.Random(f"potchain.testing.rubbish:{number}")
            engine, _ = replay(self._factory, tape, len(tape.steps) // 2)
            now_ns = tape.steps[len(tape.steps) // 2 - 1].now_ns
            for message in _spoilt_messages(tape, dice, RUBBISH):
                try:
                    self._factory.signed_parts(message, tape.boot.genesis_hash, tape.boot.epoch)
                except CodecError:
                    continue  # such a message never reaches `step`
                self._survives(engine, message, now_ns)

    def flood(self) -> None:
        """Members that sign for every place there is fill no buffer beyond its bound."""
        for number, tape in enumerate(self._tapes()[:TAPES_TRIED]):
            dice = random.Random(f"potchain.testing.flood:{number}")
            engine, _ = replay(self._factory, tape, len(tape.steps) // 2)
            now_ns = tape.steps[len(tape.steps) // 2 - 1].now_ns
            originals = _messages_of(tape)
            ids = tape.boot.epoch.ids
            for _ in range(FLOOD):
                message = dice.choice(originals)
                changes: dict[str, Any] = {"sender": dice.choice(ids), "view": dice.randrange(200)}
                if message.sequence:
                    changes |= {"sequence": 1 + dice.randrange(500), "digest": dice.randbytes(32)}
                self._survives(engine, msgspec.structs.replace(message, **changes), now_ns)
            for name, size in engine.status().buffers.items():
                bound = bound_of(name, tape.boot.epoch.parameters, len(ids))
                assert size <= bound, f"{name} holds {size} after a flood, its bound is {bound}"

    @staticmethod
    def _survives(engine: ConsensusEngine, message: ConsensusMessage, now_ns: int) -> None:
        effects = engine.step(MessageReceived(message), now_ns)
        for decision in effects.decide:
            assert decision.digest == proposal_digest(decision.proposal.header)

    def _tapes(self) -> list[RecordedEngine]:
        """Engines of a calm run, of one in which a primary is cut off, and of one with crashes."""
        if not self._recorded:
            for plan in (plan_of("calm", 1, self._nodes), *base_plans(self._nodes), plan_of("crashes", 2, self._nodes)):
                recording = RecordingFactory(self._factory)
                _assert_kept(run(plan, recording))
                self._recorded += [tape for tape in recording.engines if len(tape.steps) > 1 and _messages_of(tape)]
        assert self._recorded, "no engine got a message in a calm run"
        return self._recorded


def _check_effects(tape: RecordedEngine) -> None:
    boot, decided = tape.boot, set()
    assert isinstance(tape.steps[0].event, Started), "the host starts with Started"
    for step in tape.steps:
        effects = step.effects
        for send in effects.send:
            assert boot.me is not None, "an observer sends nothing"
            assert send.kind != BLOCK_VOTE, "block votes are the host's"
            assert len(send.body) <= MESSAGE_BYTES_MAX, f"{send.kind} has {len(send.body)} bytes"
            assert len(send.digest) == 32, f"{send.kind} has a digest of {len(send.digest)} bytes"
            assert send.to is None or send.to in boot.epoch.ids, f"{send.kind} to a stranger"
        for timer in effects.timers:
            assert not isinstance(timer, SetTimer) or timer.after_ns > 0, f"timer {timer}"
        for decision in effects.decide:
            assert decision.sequence > boot.decided, f"{decision.sequence} was decided before the start"
            assert decision.sequence not in decided, f"{decision.sequence} is decided twice"
            decided.add(decision.sequence)
            assert decision.digest == proposal_digest(decision.proposal.header), "a decision of another proposal"
            assert decision.proposal.header.sequence == decision.sequence, "a proposal of another sequence"
        for report in effects.report:
            assert not isinstance(report, Discard) or report.reason, "a message is discarded without a reason"


def _messages_of(tape: RecordedEngine) -> list[ConsensusMessage]:
    return [step.event.message for step in tape.steps if isinstance(step.event, MessageReceived)]


def _spoilt_messages(tape: RecordedEngine, dice: random.Random, count: int) -> Iterator[ConsensusMessage]:
    """Messages of the tape with any field changed; from members, as the host guarantees."""
    originals, ids = _messages_of(tape), tape.boot.epoch.ids
    forger = Forger(
        key=SigningKey(b"\x01" * 32), me=ids[0], genesis_hash=tape.boot.genesis_hash, engine="", dice=dice
    )
    for _ in range(count):
        message = forger.mutated_message(dice.choice(originals))
        if message is not None and 0 <= message.epoch == tape.boot.epoch.number:
            yield msgspec.structs.replace(message, sender=dice.choice(ids))


def _spoilt(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data))
    flipped = data[:place] + bytes((data[place] ^ 1 << dice.randrange(8),)) + data[place + 1 :]
    return dice.choice((flipped, data[:place], data + b"\x00", b""))


def _assert_kept(outcome: Outcome | None) -> None:
    if outcome is not None and outcome.violation is not None:
        raise AssertionError(f"seed {outcome.seed}: {violation_text(outcome.violation)}")



