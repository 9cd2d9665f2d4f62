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


class Layer2Fault(Fault, frozen=True, kw_only=True):
    """Something that goes wrong on Layer 2, or on the way to it; of runs with `Plan.layer2`."""

    waits_for: str = ""
    """"pending": it happens as soon as a relayer's transaction waits in the pools; "mined": as soon as one is in a
    block; "": at once. Never after `Plan.heal_ns`."""


class Reorganise(Layer2Fault, frozen=True, kw_only=True):
    """Another branch wins: the newest blocks are gone, and one more than that comes in their place."""

    depth: int
    """At most so many blocks; never more than `Layer2.confirmations`, beyond which Layer 2 promises nothing."""
    forget: bool = False
    """The transactions of those blocks are lost; else they wait in the pools again."""


class Censor(Layer2Fault, frozen=True, kw_only=True):
    """Blocks leave out what a node's relay account sends, until `until_ns`."""

    node: int
    until_ns: int


class LoseEndpoint(Layer2Fault, frozen=True, kw_only=True):
    """No endpoint answers a node until `until_ns`."""

    node: int
    until_ns: int


class LoseAnswers(Layer2Fault, frozen=True, kw_only=True):
    """What a node asks for is done, and every second answer is lost, until `until_ns`."""

    node: int
    until_ns: int


class LagEndpoint(Layer2Fault, frozen=True, kw_only=True):
    """A node's endpoint is so many blocks behind until `until_ns`."""

    node: int
    blocks: int
    until_ns: int


class RaiseFees(Layer2Fault, frozen=True, kw_only=True):
    """Blocks take nothing for less than this until `until_ns`."""

    fee_wei: int
    until_ns: int


class StallBlocks(Layer2Fault, frozen=True, kw_only=True):
    """Nobody makes blocks until `until_ns`."""

    until_ns: int


class EmptyPools(Layer2Fault, frozen=True, kw_only=True):
    """What waits in the pools is lost."""


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
    | Reorganise
    | Censor
    | LoseEndpoint
    | LoseAnswers
    | LagEndpoint
    | RaiseFees
    | StallBlocks
    | EmptyPools
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


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What operators decide once a contract is bound and the decision before is taken."""

    at_ns: int
    """Not before."""
    kind: str
    """"term", "rotate", "pause" or "resume"."""
    term: str = ""
    """term: a name of `Terms`."""
    value: int = 0
    """term: its value; rotate: the threshold."""
    owners: tuple[int, ...] = ()
    """rotate: the nodes whose operators own the contract from then on."""


class Layer2Liar(msgspec.Struct, frozen=True, kw_only=True):
    """A node whose operator lies about Layer 2, in ways of `potchain.sim.settling.lying`; it is faulty for good."""

    node: int
    behaviours: tuple[str, ...]


class Layer2(msgspec.Struct, frozen=True, kw_only=True):
    """The chain on which a run settles, the settlers' options, and what people do there."""

    block_ns: int = 400_000_000
    """Between two blocks, on average; each comes up to half of it earlier or later."""
    confirmations: int = 3
    fee_wei: int = 10
    """What blocks ask, until `RaiseFees`."""
    fee_cap_wei: int = 100
    """What relayers pay at most."""
    answer_ns: int = 20_000_000
    """An endpoint takes this long at most."""
    relay_ahead: int = 1
    poll_ms: int = 250
    relay_turn_ms: int = 2_000
    stuck_after_ms: int = 3_000
    threshold: int = 0
    """Signatures that the contract asks for; 0: a quorum. All operators own it at first."""
    bind_ns: int = 300_000_000
    """When operators begin to bind the contract."""
    decisions: tuple[Decision, ...] = ()
    holders: int = 4
    """Accounts that withdraw, and to which deposits go."""
    withdrawals: int = 10
    deposits: int = 6
    from_ns: int = 100_000_000
    until_ns: int = 6_000_000_000
    """Withdrawals and deposits are spread over [from_ns, until_ns)."""
    backed_ns: int = 0
    """When the contract has money for all withdrawals; before, it has what was deposited for somebody."""
    liars: tuple[Layer2Liar, ...] = ()


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
    layer2: Layer2 | None = None
    """With it the network settles on a simulated chain; None: there is no Layer 2, and no settlement."""


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
