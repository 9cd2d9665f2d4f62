"""From a profile's name and a seed to a plan: what may go wrong, drawn at random and written down as data.

Rules of this file: a plan is a pure function of (profile, seed, nodes); at most f of its nodes are faulty for good
(lying, down, without their votes, with a wrong clock), so that the liveness checker is fair; any number may crash and
come back. Faults end before `heal_ns`.
"""

from __future__ import annotations

from collections.abc import Callable

from potchain.errors import ConfigError
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.sim.byzantine import BEHAVIOURS
from potchain.sim.draft import FIRST_FAULT_NS, Draft
from potchain.sim.plan import (
    Byzantine,
    ClockJump,
    Crash,
    CrashAtStep,
    CutLink,
    Link,
    LinkChange,
    LoseVoteLog,
    Partition,
    Plan,
    RestoreOldVoteLog,
    SlowDisk,
    SlowNode,
    Workload,
)
from potchain.sim.settling.drawing import draw_layer2, draw_liar, draw_trouble

SAFETY_ONLY_PERCENT = 20
"""How many plans of the wild profiles never heal."""


def plan_of(profile: str, seed: int, nodes: int = 4) -> Plan:
    """The plan that a profile draws from a seed. Raises ConfigError for an unknown profile."""
    draw = PROFILES.get(profile)
    if draw is None:
        raise ConfigError(f"unknown profile {profile!r} (known: {', '.join(PROFILES)})")
    draft = Draft(profile, seed, nodes)
    _ordinary(draft)
    draw(draft)
    return draft.plan()


def _ordinary(draft: Draft) -> None:
    """Network, disk, parameters and clients of every profile."""
    dice = draft.dice
    low_ns = dice.choice((100_000, 1_000_000, 5_000_000))
    draft.link = Link(latency_min_ns=low_ns, latency_max_ns=low_ns + dice.choice((0, 1_000_000, 20_000_000)))
    draft.write_ns = dice.choice((50_000, 500_000, 3_000_000))
    timeout_ms, interval = dice.choice((500, 1_000)), dice.choice((4, 8))
    draft.parameters = {
        "view_timeout_ms": timeout_ms,
        "view_timeout_cap_ms": timeout_ms * dice.choice((2, 4)),
        "checkpoint_interval": interval,
        "log_window": interval * dice.choice((2, 3)),
        "in_flight_max": dice.choice((1, 2, 4, 8)),
        "batch_max": dice.choice((1, 3, 10, 100)),
    }
    draft.workload = Workload(
        accounts=dice.choice((2, 5, 8)),
        transactions=dice.choice((10, 25, 40)),
        until_ns=dice.choice((3, 6, 8)) * NS_PER_S,
        rubbish=dice.choice((0, 4)),
        everywhere=draft.chance(20),
    )


def calm(draft: Draft) -> None:
    """Nothing goes wrong; links and disks differ from seed to seed."""


def lossy(draft: Draft) -> None:
    """Frames are lost, doubled, delayed and out of order, in bursts."""
    for _ in range(draft.dice.randrange(1, 4)):
        _bad_link(draft)


def partitions(draft: Draft) -> None:
    """Groups that cannot hear each other, one-way cuts, and links clogged one by one."""
    for _ in range(draft.dice.randrange(1, 4)):
        draft.dice.choice((_partition, _partition, _one_way, _swizzle))(draft)


def crashes(draft: Draft) -> None:
    """Power cuts, at times of several nodes or all at once; some at a chosen boundary; at most f stay down."""
    if draft.chance(25):
        _down_for_good(draft)
    for _ in range(draft.dice.randrange(1, 6)):
        draft.dice.choice((_crash, _crash, _crash_at_step, _blackout))(draft)


def disks(draft: Draft) -> None:
    """Slow disks, torn writes, and vote logs that are lost or come from an old copy."""
    draft.dice.choice((_slow_disk, _lost_votes, _old_votes))(draft)
    for _ in range(draft.dice.randrange(1, 5)):
        draft.dice.choice((_slow_disk, _crash, _crash_at_step))(draft)


def clocks(draft: Draft) -> None:
    """Wall clocks that jump, and nodes that are slow for a while."""
    for _ in range(draft.dice.randrange(1, 5)):
        draft.dice.choice((_clock_jump, _slow_node))(draft)
    if draft.chance(50):
        _wrong_clock(draft)


def byzantine(draft: Draft) -> None:
    """Up to f nodes lie in one or more ways, mostly on a good network, so that their lies arrive."""
    for _ in range(max(draft.budget, 1)):
        _liar(draft)
    if draft.chance(30):
        draft.dice.choice((_bad_link, _partition, _one_way, _crash))(draft)


def mixed(draft: Draft) -> None:
    """A few of everything; one plan in five never heals and checks safety alone."""
    if draft.chance(SAFETY_ONLY_PERCENT):
        draft.heal_ns = None
    if draft.chance(45):
        _liar(draft)
    elif draft.chance(30):
        draft.dice.choice((_down_for_good, _lost_votes, _old_votes, _wrong_clock))(draft)
    for _ in range(draft.dice.randrange(1, 6)):
        draft.dice.choice(_PASSING)(draft)


def settlement(draft: Draft) -> None:
    """The network settles on a Layer 2 that reorganises, stalls, censors and is out of reach; operators may lie."""
    draft.parameters["batch_max"] = draft.dice.choice((5, 20, 100))
    draw_layer2(draft)
    if draft.chance(40):
        draw_liar(draft)
    elif draft.chance(30):
        draft.dice.choice((_down_for_good, _lost_votes, _old_votes, _wrong_clock, _liar))(draft)
    for _ in range(draft.dice.randrange(1, 7)):
        draw_trouble(draft)
    for _ in range(draft.dice.randrange(4)):
        draft.dice.choice(_PASSING)(draft)


# --- single faults ----------------------------------------------------------------------------------------------------


def _bad_link(draft: Draft) -> None:
    dice, at_ns = draft.dice, draft.moment()
    link = Link(
        latency_min_ns=draft.link.latency_min_ns,
        latency_max_ns=draft.link.latency_max_ns + dice.choice((0, 50, 300, 1_000)) * NS_PER_MS,
        loss_ppm=dice.choice((0, 10_000, 100_000, 300_000)),
        duplicate_ppm=dice.choice((0, 50_000, 300_000)),
        reorder=draft.chance(60),
    )
    draft.faults.append(LinkChange(at_ns=at_ns, link=link, until_ns=draft.until(at_ns, 5 * NS_PER_S)))


def _partition(draft: Draft) -> None:
    order = list(range(draft.nodes))
    draft.dice.shuffle(order)
    cut = draft.dice.randrange(1, max(draft.nodes, 2))
    groups = [tuple(sorted(order[:cut])), tuple(sorted(order[cut:]))]
    if draft.nodes > 3 and draft.chance(25):
        half = len(groups[0]) // 2
        groups = [groups[0][:half], groups[0][half:], groups[1]]
    at_ns = draft.moment()
    kept = tuple(group for group in groups if group)
    draft.faults.append(Partition(at_ns=at_ns, groups=kept, until_ns=draft.until(at_ns, 5 * NS_PER_S)))


def _one_way(draft: Draft) -> None:
    """One node can send and not hear, or hear and not send, for some or all of the others."""
    node, deaf, at_ns = draft.node(), draft.chance(50), draft.moment()
    until_ns = draft.until(at_ns, 5 * NS_PER_S)
    for other in range(draft.nodes):
        if other != node and draft.chance(80):
            sender, receiver = (other, node) if deaf else (node, other)
            draft.faults.append(CutLink(at_ns=at_ns, sender=sender, receiver=receiver, until_ns=until_ns))


def _swizzle(draft: Draft) -> None:
    """FoundationDB's swizzle-clogging: stop a random set of nodes' links one by one, free them in a random order."""
    chosen = [node for node in range(draft.nodes) if draft.chance(60)]
    draft.dice.shuffle(chosen)
    at_ns = draft.moment(draft.end_ns - 2 * NS_PER_S)
    step_ns = draft.dice.choice((20, 100, 300)) * NS_PER_MS
    free = list(range(len(chosen)))
    draft.dice.shuffle(free)
    for number, node in enumerate(chosen):
        start_ns = at_ns + number * step_ns
        until_ns = min(at_ns + (len(chosen) + free[number] + 1) * step_ns, draft.end_ns)
        for other in range(draft.nodes):
            if other != node:
                for sender, receiver in ((node, other), (other, node)):
                    draft.faults.append(
                        CutLink(at_ns=start_ns, sender=sender, receiver=receiver, until_ns=until_ns)
                    )


def _crash(draft: Draft) -> None:
    down_ns = draft.dice.choice((1, 100, 700, 3_000)) * NS_PER_MS
    node, at_ns = draft.node(), draft.moment()
    if node not in draft.spoilt:
        draft.faults.append(
            Crash(
                at_ns=at_ns,
                node=node,
                down_ns=None if draft.chance(15) else down_ns,
                lose_unsynced=not draft.chance(15),
                torn=draft.chance(30),
            )
        )


def _blackout(draft: Draft) -> None:
    """Every node loses power within a moment."""
    at_ns = draft.moment()
    for node in range(draft.nodes):
        if node not in draft.spoilt:
            moment_ns = at_ns + draft.dice.randrange(100 * NS_PER_MS)
            down_ns = draft.dice.choice((50, 500, 2_000)) * NS_PER_MS
            draft.faults.append(Crash(at_ns=moment_ns, node=node, down_ns=down_ns, torn=draft.chance(20)))


def _crash_at_step(draft: Draft) -> None:
    node = draft.node()
    if node not in draft.spoilt:
        index, down_ns = draft.dice.randrange(300), draft.dice.choice((10, 500, 2_000)) * NS_PER_MS
        draft.faults.append(CrashAtStep(at_ns=0, node=node, index=index, down_ns=down_ns, torn=draft.chance(30)))


def _down_for_good(draft: Draft) -> None:
    node = draft.spoil()
    if node is not None:
        draft.faults.append(Crash(at_ns=draft.moment(), node=node, for_good=True))


def _lost_votes(draft: Draft) -> None:
    node = draft.spoil()
    if node is not None:
        at_ns = draft.moment(draft.end_ns - 2 * NS_PER_S)
        draft.faults.append(LoseVoteLog(at_ns=at_ns, node=node, down_ns=draft.dice.randrange(NS_PER_S)))


def _old_votes(draft: Draft) -> None:
    node = draft.spoil()
    if node is not None:
        copied_ns = draft.dice.randrange(FIRST_FAULT_NS, 4 * NS_PER_S)
        at_ns = draft.dice.randrange(copied_ns + 1, draft.end_ns - NS_PER_S)
        draft.faults.append(
            RestoreOldVoteLog(at_ns=at_ns, node=node, copied_ns=copied_ns, down_ns=draft.dice.randrange(NS_PER_S))
        )


def _slow_disk(draft: Draft) -> None:
    at_ns, write_ns = draft.moment(), draft.dice.choice((20, 100, 400)) * NS_PER_MS
    until_ns = draft.until(at_ns, 3 * NS_PER_S)
    draft.faults.append(SlowDisk(at_ns=at_ns, node=draft.node(), write_ns=write_ns, until_ns=until_ns))


def _slow_node(draft: Draft) -> None:
    at_ns, step_ns = draft.moment(), draft.dice.choice((1, 10, 50)) * NS_PER_MS
    until_ns = draft.until(at_ns, 3 * NS_PER_S)
    draft.faults.append(SlowNode(at_ns=at_ns, node=draft.node(), step_ns=step_ns, until_ns=until_ns))


def _clock_jump(draft: Draft) -> None:
    """By so little that all jumps of one node together stay within half of the clock bound."""
    by_ms = draft.dice.choice((-1_000, -200, 50, 900))
    draft.faults.append(ClockJump(at_ns=draft.moment(), node=draft.node(), by_ms=by_ms))


def _wrong_clock(draft: Draft) -> None:
    node = draft.spoil()
    if node is not None:
        by_ms = draft.dice.choice((-3_600_000, -15_000, 15_000, 86_400_000))
        draft.faults.append(ClockJump(at_ns=draft.moment(), node=node, by_ms=by_ms))


def _liar(draft: Draft) -> None:
    node = draft.spoil()
    if node is None:
        return
    names = sorted(BEHAVIOURS)
    count = min(draft.dice.choice((1, 1, 2, 3)), len(names))
    chosen = tuple(sorted(draft.dice.sample(names, count)))
    from_ns = draft.dice.choice((0, draft.moment()))
    draft.byzantine.append(Byzantine(node=node, behaviours=chosen, from_ns=from_ns))


_PASSING: tuple[Callable[[Draft], None], ...] = (
    _bad_link, _partition, _one_way, _swizzle, _crash, _crash, _crash_at_step, _blackout, _slow_disk, _slow_node,
    _clock_jump,
)  # fmt: skip
"""Faults that leave nothing behind once the plan heals."""

PROFILES: dict[str, Callable[[Draft], None]] = {
    each.__name__: each for each in (calm, lossy, partitions, crashes, disks, clocks, byzantine, mixed, settlement)
}
"""What `--profile` takes."""
