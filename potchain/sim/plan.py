"""What a simulated run is made of, as plain data: one plan gives one run, byte for byte.

A plan holds no behaviour. It is drawn from a seed by a profile (`potchain.sim.profiles`), written down in a failure's
report, cut down by the minimiser, and run by `potchain.sim.cluster`. Times are virtual nanoseconds since the start,
nodes are indexes into the genesis' validators (observers and later members follow).
"""

from __future__ import annotations

import msgspec


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions of every link, until a fault changes them. Probabilities are parts per 1,000,000."""

    latency_min_ns: int = 1_000_000
    latency_max_ns: int = 20_000_000
    """Each frame's delay is uniform between the two."""
    loss_ppm: int = 0
    duplicate_ppm: int = 0
    reorder: bool = False
    """False: frames of one link arrive in order, as on TCP."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something that goes wrong at a time."""

    at_ns: int


class Crash(Fault, frozen=True, kw_only=True):
    """The power of a node goes out; it starts again after `down_ns` (None: at `Plan.heal_ns`, never if `for_good`)."""

    node: int
    down_ns: int | None = None
    lose_unsynced: bool = True
    """Writes that are queued and not durable are gone (True: a power cut; False: the process stops cleanly)."""
    torn: bool = False
    """The write under way leaves a torn tail on the disk."""
    for_good: bool = False


class CrashAtStep(Fault, frozen=True, kw_only=True):
    """The power of a node goes out right at its `index`-th persist, send or decide boundary since the start of the run.

    `at_ns` is ignored. Boundaries are counted per node: before a write, after a write, before a send, after a send,
    before a block is applied, after it.
    """

    node: int
    index: int
    down_ns: int = 500_000_000
    torn: bool = False


class Partition(Fault, frozen=True, kw_only=True):
    """Links between groups carry nothing until `until_ns`; nodes in no group keep all their links."""

    groups: tuple[tuple[int, ...], ...]
    until_ns: int


class CutLink(Fault, frozen=True, kw_only=True):
    """One direction between two nodes carries nothing until `until_ns`."""

    sender: int
    receiver: int
    until_ns: int


class LinkChange(Fault, frozen=True, kw_only=True):
    """Other conditions on every link until `until_ns`."""

    link: Link
    until_ns: int


class ClockJump(Fault, frozen=True, kw_only=True):
    """A node's wall clock (not its monotonic one) moves by this much."""

    node: int
    by_ms: int


class SlowDisk(Fault, frozen=True, kw_only=True):
    """A node's writes take this long each until `until_ns`."""

    node: int
    write_ns: int
    until_ns: int


class SlowNode(Fault, frozen=True, kw_only=True):
    """Each event takes a node this long to handle until `until_ns`."""

    node: int
    step_ns: int
    until_ns: int


class LoseVoteLog(Fault, frozen=True, kw_only=True):
    """A node crashes and its vote database is gone when it starts again after `down_ns`."""

    node: int
    down_ns: int


class RestoreOldVoteLog(Fault, frozen=True, kw_only=True):
    """A node crashes and starts again after `down_ns` with its databases as they were at `copied_ns`."""

    node: int
    copied_ns: int
    down_ns: int


AnyFault = (
    Crash
    | CrashAtStep
    | Partition
    | CutLink
    | LinkChange
    | ClockJump
    | SlowDisk
    | SlowNode
    | LoseVoteLog
    | RestoreOldVoteLog
)


class Byzantine(msgspec.Struct, frozen=True, kw_only=True):
    """A node behind faulty middleware from `from_ns` to `until_ns`, with behaviours of `potchain.sim.byzantine`."""

    node: int
    behaviours: tuple[str, ...]
    from_ns: int = 0
    until_ns: int | None = None
    """None: to the end of the run; such a node counts as faulty for good."""


class Twin(msgspec.Struct, frozen=True, kw_only=True):
    """A second, unmodified copy of a node under the same identity, with its own databases and pool."""

    node: int
    """Whose keys it has. Copies are numbered after all other nodes, in the order of `Plan.twins`."""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Clients' transfers, submitted through the API handlers of the nodes."""

    accounts: int = 8
    transactions: int = 60
    from_ns: int = 50_000_000
    until_ns: int = 6_000_000_000
    """Submissions are spread evenly over [from_ns, until_ns)."""
    rubbish: int = 4
    """How many bad submissions (wrong signature, stale nonce, no funds, expired, not JSON) go among them."""
    everywhere: bool = False
    """True: each transaction is submitted to every node, not to one."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    seed: int
    nodes: int = 4
    """Validators of epoch 0."""
    observers: int = 0
    duration_ns: int = 12_000_000_000
    heal_ns: int | None = 7_000_000_000
    """From here on no network fault acts, every node that is not down for good is up, and the liveness checker counts.
    None: a safety run, without the liveness checker."""
    link: Link = Link()
    write_ns: int = 500_000
    """How long a durable write takes."""
    parameters: tuple[tuple[str, int], ...] = ()
    """Genesis parameters that differ from the simulator's defaults (small checkpoint interval and window)."""
    application: str = "accounts"
    faults: tuple[AnyFault, ...] = ()
    byzantine: tuple[Byzantine, ...] = ()
    twins: tuple[Twin, ...] = ()
    leaders: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """Twins runs: the partition of each round of `round_ns`, in turn; empty: none."""
    round_ns: int = 1_000_000_000
    workload: Workload = Workload()


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A promise that a run broke."""

    checker: str
    """Name of the promise, such as `agreement`."""
    node: int | None
    at_ns: int
    detail: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run."""

    seed: int
    violation: Violation | None
    """The first promise that was broken; the run ends there."""
    virtual_ns: int
    height: int
    """Highest final height at any honest node."""
    transactions: int
    """Transactions executed (receipt ok or failed) at the highest honest node."""
    views: int
    """Highest view that an honest node reached."""
    frames: int
    boundaries: tuple[int, ...]
    """Persist, send and decide boundaries that each node passed: the range of `CrashAtStep.index`."""
    trace_digest: str
    """sha256 over the whole trace, hex: equal for equal runs."""
