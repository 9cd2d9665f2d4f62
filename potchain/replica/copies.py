"""Notices that two processes run under one validator's key.

Every process has a random boot id, which it tells its peers on connect and every second. The transport keeps one
session per key, so two processes with one key push each other out in turns, and their boot ids alternate. Two signs:

    taken over    a session under another boot id took the place of one that had not ended: the earlier process may be
                  alive, and counts as such until `GRACE_NS` after its last sign of life
    came back     a boot id that another had replaced is heard again: both processes are alive

A process that was killed ends its session before its successor can be up, so a plain restart gives neither sign; after
a loss of power, whose dead session lingers, the successor waits until the grace has passed.
"""

from __future__ import annotations

from potchain.primitives import NS_PER_MS, NodeId

GRACE_NS = 3_000 * NS_PER_MS
"""How long a process counts as alive after its last sign of life: it reconnects within 2 s and speaks every second."""
TAKEN_OVER_NS = 250 * NS_PER_MS
"""A session that ended less than this before its successor began was taken over; no process starts faster."""
BOOTS_MAX = 8
"""Earlier boot ids remembered for one member."""
BOOT_ID_BYTES_MAX = 32
"""Longest boot id that is taken note of."""


class _Member:
    """The processes of one member."""

    def __init__(self, boot_id: bytes, now_ns: int) -> None:
        self.current = boot_id
        self.alive_ns = now_ns
        self.ended_ns: int | None = None
        self.earlier: dict[bytes, int] = {}
        """Boot ids that were replaced, and until when each counts as alive."""


class CopyWatch:
    """One line for each member that was heard."""

    def __init__(self) -> None:
        self._members: dict[NodeId, _Member] = {}

    def heard(self, member: NodeId, boot_id: bytes, now_ns: int) -> None:
        """A frame under this member's key came from the process with this boot id; empty: it does not say."""
        if not 0 < len(boot_id) <= BOOT_ID_BYTES_MAX:
            return
        known = self._members.get(member)
        if known is None:
            self._members[member] = _Member(boot_id, now_ns)
        elif known.current == boot_id:
            known.alive_ns, known.ended_ns = now_ns, None
        else:
            self._replaced(known, boot_id, now_ns)

    def gone(self, member: NodeId, now_ns: int) -> None:
        """The member's session has ended."""
        known = self._members.get(member)
        if known is not None:
            known.ended_ns = now_ns

    def another(self, member: NodeId, boot_id: bytes, now_ns: int) -> bool:
        """Whether a process of this member with another boot id counts as alive."""
        known = self._members.get(member)
        if known is None:
            return False
        if any(until_ns > now_ns for each, until_ns in known.earlier.items() if each != boot_id):
            return True
        return known.current != boot_id and known.ended_ns is None and known.alive_ns + GRACE_NS > now_ns

    def doubled(self, now_ns: int) -> tuple[NodeId, ...]:
        """Members of which more than one process counts as alive, in the order in which they were first heard."""
        return tuple(
            member
            for member, known in self._members.items()
            if any(until_ns > now_ns for until_ns in known.earlier.values())
        )

    def keep_only(self, members: tuple[NodeId, ...]) -> None:
        """Forget everybody else: at a change of epoch."""
        self._members = {member: known for member, known in self._members.items() if member in members}

    def _replaced(self, known: _Member, boot_id: bytes, now_ns: int) -> None:
        came_back = known.earlier.pop(boot_id, None) is not None
        over = known.ended_ns is not None and now_ns - known.ended_ns >= TAKEN_OVER_NS
        until_ns = 0 if over else known.alive_ns + GRACE_NS
        known.earlier[known.current] = now_ns + GRACE_NS if came_back else until_ns
        while len(known.earlier) > BOOTS_MAX:
            del known.earlier[next(iter(known.earlier))]
        known.current, known.alive_ns, known.ended_ns = boot_id, now_ns, None
