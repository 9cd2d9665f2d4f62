"""Engines on tape: what each was born from, every event it got and every effect it answered with.

A tape can be played to a fresh engine, whole or in part, and the answers compared byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from potchain.blocks import OrderCertificate
from potchain.consensus.interface import (
    Boot,
    ConsensusEngine,
    ConsensusMessage,
    Effects,
    EngineFactory,
    EngineStatus,
    Event,
    MessageName,
)
from potchain.genesis import Epoch
from potchain.primitives import NodeId


class Step(msgspec.Struct, frozen=True):
    """One event, and the answer."""

    event: Event
    now_ns: int
    effects: Effects


class RecordedEngine:
    """An engine with a tape beside it. It behaves as the engine alone."""

    def __init__(self, engine: ConsensusEngine, boot: Boot, options: msgspec.Struct) -> None:
        self.boot = boot
        self.options = options
        self.steps: list[Step] = []
        self._engine = engine

    def step(self, event: Event, now_ns: int) -> Effects:
        """React, and write it down."""
        effects = self._engine.step(event, now_ns)
        self.steps.append(Step(event, now_ns, effects))
        return effects

    def status(self) -> EngineStatus:
        """The engine's."""
        return self._engine.status()

    def dump(self) -> bytes:
        """The engine's."""
        return self._engine.dump()

    def has_enough(self, message: ConsensusMessage) -> bool:
        """The engine's."""
        return self._engine.has_enough(message)

    def remembered(self) -> tuple[ConsensusMessage, ...]:
        """The engine's."""
        return self._engine.remembered()

    def find(self, kind: str, view: int, name: MessageName) -> ConsensusMessage | None:
        """The engine's."""
        return self._engine.find(kind, view, name)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else an engine offers
        return getattr(self._engine, name)


class RecordingFactory:
    """A factory whose engines are all on tape."""

    def __init__(self, factory: EngineFactory) -> None:
        self._factory = factory
        self.name = factory.name
        self.version = factory.version
        self.wire_version = factory.wire_version
        self.options_type = factory.options_type
        self.engines: list[RecordedEngine] = []
        """In the order of their birth; a node has a new one after every restart."""

    def create(self, boot: Boot, options: msgspec.Struct) -> RecordedEngine:
        """A fresh engine."""
        engine = RecordedEngine(self._factory.create(boot, options), boot, options)
        self.engines.append(engine)
        return engine

    def verify(
        self, certificate: OrderCertificate, genesis_hash: bytes, epoch: Epoch, sequence: int, digest: bytes
    ) -> None:
        """The factory's."""
        self._factory.verify(certificate, genesis_hash, epoch, sequence, digest)

    def signed_parts(
        self, message: ConsensusMessage, genesis_hash: bytes, epoch: Epoch
    ) -> tuple[tuple[NodeId, bytes, bytes], ...]:
        """The factory's."""
        return self._factory.signed_parts(message, genesis_hash, epoch)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a factory offers
        return getattr(self._factory, name)


def effect_bytes(effects: Effects) -> bytes:
    """Effects as bytes that tell any two apart."""
    named = [(name, [(type(each).__name__, each) for each in _listed(effects, name)]) for name in _FIELDS]
    return msgspec.msgpack.encode(named)


_FIELDS = Effects.__struct_fields__


def _listed(effects: Effects, name: str) -> Sequence[object]:
    value = getattr(effects, name)
    return value if isinstance(value, tuple) else (value,)


def replay(factory: EngineFactory, tape: RecordedEngine, steps: int | None = None) -> tuple[ConsensusEngine, str]:
    """A fresh engine that has been through the first `steps` of a tape, and where it first differed ("" if nowhere)."""
    engine = factory.create(tape.boot, tape.options)
    difference = ""
    for number, step in enumerate(tape.steps[:steps]):
        effects = engine.step(step.event, step.now_ns)
        if not difference and effect_bytes(effects) != effect_bytes(step.effects):
            difference = f"step {number} ({type(step.event).__name__}) gave {effects}, before {step.effects}"
    return engine, difference
