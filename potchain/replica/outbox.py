"""Host rule (a) as a data structure: nothing leaves before what was to be durable before it.

A step collects a batch to persist and the things that follow. If there is a batch, it leaves at once as `Persist` and
everything after it, of this step and of later ones, is held until the driver reports it durable. Barriers are released
in the order of their tokens, so a later step can never overtake an earlier one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from potchain.blocks import Proposal
from potchain.consensus.interface import ConsensusMessage, Record
from potchain.consensus.learning import LearnerTarget
from potchain.primitives import Digest
from potchain.replica.actions import DurableBatch, ForgetBodies, Persist, ReplicaAction
from potchain.transactions import Transaction

Held = ReplicaAction | Callable[[], None]
"""An action for the driver, or a continuation inside the replica (own messages coming back, a decision)."""


class Outbox:
    """Orders actions and continuations behind durability."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._messages: list[ConsensusMessage] = []
        self._bodies: list[Transaction] = []
        self._proposals: list[Proposal] = []
        self._learner: LearnerTarget | None = None
        self._waiting_bodies: list[Transaction] = []
        self._following: list[Held] = []
        self._barriers: deque[tuple[int, list[Held]]] = deque()
        self._token = 0
        self._free: list[ReplicaAction] = []
        self._due = False
        """Whether anything of this step is to be made durable."""

    @property
    def held(self) -> int:
        """How many steps wait for the disk."""
        return len(self._barriers)

    def persist(
        self,
        *,
        records: tuple[Record, ...] = (),
        messages: tuple[ConsensusMessage, ...] = (),
        bodies: tuple[Transaction, ...] = (),
        proposals: tuple[Proposal, ...] = (),
        learner: LearnerTarget | None = None,
    ) -> None:
        """Add to what this step makes durable."""
        self._records.extend(records)
        self._messages.extend(messages)
        self._bodies.extend(bodies)
        self._proposals.extend(proposals)
        self._learner = learner or self._learner
        self._due = self._due or bool(records or messages or bodies or proposals or learner)

    def persist_in_company(self, bodies: tuple[Transaction, ...]) -> None:
        """Add bodies to whatever is made durable next: nobody was promised anything, and a vote that needs them comes
        with a batch of its own. `flush` ends the wait."""
        self._waiting_bodies.extend(bodies)

    def forget(self, ids: Sequence[Digest]) -> None:
        """Neither pool nor pin needs these bodies: they leave the log, and those that still wait never enter it."""
        if ids:
            gone = set(ids)
            self._waiting_bodies = [body for body in self._waiting_bodies if body.id not in gone]
            self._free.append(ForgetBodies(tuple(ids)))

    def flush(self) -> None:
        """Make durable what waits for company."""
        self._due = self._due or bool(self._waiting_bodies)
        self._bodies.extend(self._waiting_bodies)
        self._waiting_bodies = []

    def then(self, held: Held) -> None:
        """Let something follow once all that was to be durable before it is."""
        self._following.append(held)

    def now(self, action: ReplicaAction) -> None:
        """Let an action out at once: timers, logs and reads, which promise nothing to anybody."""
        self._free.append(action)

    def persisted(self, token: int) -> None:
        """Everything up to `token` is durable: let go what waited for it."""
        while self._barriers and self._barriers[0][0] <= token:
            self._release(self._barriers.popleft()[1])

    def drain(self) -> list[ReplicaAction]:
        """End a step: the actions to carry out now, in order."""
        self._close_step()
        released, self._free = self._free, []
        return released

    def _close_step(self) -> None:
        # A continuation may itself persist and hold more; go on until nothing is left to place.
        while self._following or self._due:
            following, self._following = self._following, []
            if self._due:
                self.flush()
                batch = DurableBatch(
                    tuple(self._records),
                    tuple(self._messages),
                    tuple(self._bodies),
                    tuple(self._proposals),
                    self._learner,
                )
                self._records, self._messages, self._bodies, self._proposals = [], [], [], []
                self._learner = None
                self._due = False
                self._token += 1
                self._free.append(Persist(self._token, batch))
                self._barriers.append((self._token, following))
            elif self._barriers:
                self._barriers[-1][1].extend(following)
            else:
                self._release(following)

    def _release(self, held: list[Held]) -> None:
        for item in held:
            if callable(item):
                item()
            else:
                self._free.append(item)
