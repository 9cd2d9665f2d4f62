"""The simulator's parts by themselves: virtual time, disks, commits, links."""

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest
from coincurve import PublicKey

from potchain.blocks import BlockCertificate, ExecutedBlock
from potchain.consensus.interface import Record
from potchain.crypto import SigningKey
from potchain.errors import LedgerError
from potchain.ledger.votes import VoteLog
from potchain.primitives import NS_PER_MS, NodeId
from potchain.sim.disk import Disk, FileDisk, MemoryDisk
from potchain.sim.network import Network
from potchain.sim.plan import Link
from potchain.sim.scheduler import EXECUTOR_NS, Scheduler, VirtualLoop
from potchain.sim.stores import Commits
from potchain.sim.verification import VerificationMemory
from potchain.transport import Channel

GENESIS_HASH = bytes(32)
FAR_NS = 10**12

VIRTUAL_S = 1.5
"""Seconds that pass on a virtual clock, at once."""


def run(scheduler: Scheduler, until_ns: int = FAR_NS) -> None:
    scheduler.run(until_ns, lambda: False)


def on(loop: VirtualLoop, scheduler: Scheduler, main: Callable[[], object]) -> None:
    """Call something as a callback of a loop."""
    loop.outside(scheduler.now_ns, main)


# --- virtual time -----------------------------------------------------------------------------------------------------


def test_what_is_due_at_one_time_runs_in_the_order_in_which_it_was_asked_for() -> None:
    scheduler = Scheduler()
    seen: list[str] = []
    scheduler.at(5, lambda: (seen.append("a"), scheduler.at(0, seen.append, "late"), scheduler.at(5, seen.append, "d")))
    scheduler.at(5, seen.append, "b")
    scheduler.at(3, seen.append, "first")
    scheduler.at(5, seen.append, "c")
    run(scheduler)
    assert seen == ["first", "a", "b", "c", "late", "d"]
    assert scheduler.now_ns == FAR_NS


def test_asyncio_runs_in_virtual_time() -> None:
    scheduler = Scheduler()
    faults: list[dict[str, object]] = []
    loop = scheduler.make_loop(faults.append)
    times: list[int] = []

    async def main() -> str:
        await asyncio.sleep(VIRTUAL_S)
        times.append(scheduler.now_ns)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 2)
        times.append(scheduler.now_ns)
        assert await asyncio.to_thread(sum, (1, 2)) == 3
        times.append(scheduler.now_ns)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)
        return "done"

    tasks: list[asyncio.Task[str]] = []
    on(loop, scheduler, lambda: tasks.append(loop.create_task(main())))
    run(scheduler)
    assert tasks[0].result() == "done"
    assert times == [1_500_000_000, 3_500_000_000, 3_500_000_000 + EXECUTOR_NS]
    assert not faults


def test_a_killed_loop_runs_nothing_more_and_leaves_no_task_behind() -> None:
    scheduler = Scheduler()
    loop = scheduler.make_loop(lambda context: None)
    seen: list[str] = []

    async def main() -> None:
        try:
            await asyncio.sleep(VIRTUAL_S)
            seen.append("slept")
        finally:
            seen.append("cleaned up")

    def die() -> None:
        loop.call_soon(seen.append, "soon")
        loop.kill()
        seen.append("rest of the callback")

    on(loop, scheduler, lambda: loop.create_task(main()))
    loop.outside(2, seen.append, "before")
    loop.outside(3, die)
    loop.outside(4, seen.append, "after")
    run(scheduler)
    assert seen == ["before", "rest of the callback", "cleaned up"]
    assert loop.is_closed()


def test_a_slow_node_takes_its_time_for_each_event_and_keeps_their_order() -> None:
    scheduler = Scheduler()
    loop = scheduler.make_loop(lambda context: None)
    loop.step_ns = 10
    seen: list[tuple[int, str]] = []
    for at, name in ((5, "a"), (6, "b"), (15, "c"), (40, "d")):
        loop.outside(at, lambda name=name: seen.append((scheduler.now_ns, name)))  # type: ignore[misc]
    run(scheduler)
    assert seen == [(5, "a"), (15, "b"), (25, "c"), (40, "d")]


def test_what_a_callback_raises_is_told_and_stops_nobody_else() -> None:
    scheduler = Scheduler()
    faults: list[dict[str, object]] = []
    loop = scheduler.make_loop(faults.append)
    seen: list[int] = []
    loop.outside(1, divmod, 1, 0)
    loop.outside(2, seen.append, 1)
    run(scheduler)
    assert seen == [1]
    assert isinstance(faults[0]["exception"], ZeroDivisionError)


# --- commits ----------------------------------------------------------------------------------------------------------


class Host:
    """A node that dies at a boundary."""

    write_ns = 1_000

    def __init__(self, dies_at: int = -1) -> None:
        self.passed = 0
        self.dies_at = dies_at

    def boundary(self, what: str) -> bool:
        self.passed += 1
        return self.passed - 1 != self.dies_at

    def executed(self, block: ExecutedBlock) -> None: ...

    def applied(self, block: ExecutedBlock) -> None: ...

    def certified(self, certificate: BlockCertificate) -> None: ...

    def written(self, what: str) -> None: ...

    def storage_failed(self, failure: LedgerError) -> None:
        raise failure


@pytest.mark.parametrize(("dies_at", "durable"), [(-1, [[1, 2], [3, 4]]), (0, []), (1, [[1, 2]]), (2, [[1, 2]])])
def test_what_is_asked_for_during_a_commit_shares_the_next(dies_at: int, durable: list[list[int]]) -> None:
    scheduler = Scheduler()
    loop = scheduler.make_loop(lambda context: None)
    written: list[list[int]] = []

    def write(items: Sequence[int]) -> None:
        written.append(list(items))

    def main() -> None:
        commits = Commits[int](Host(dies_at), "write", write, bool)
        for number, at in ((1, 0), (2, 0), (3, 500), (4, 900)):
            loop.outside(at, commits.put, number)

    on(loop, scheduler, main)
    run(scheduler)
    assert written == durable


# --- disks ------------------------------------------------------------------------------------------------------------


def records(disk: Disk) -> list[int]:
    return [record.sequence for record in VoteLog(disk.votes, GENESIS_HASH).load().records]


def writer(disk: Disk) -> VoteLog:
    log = VoteLog(disk.votes, GENESIS_HASH)
    log.load()
    return log


def vote(sequence: int) -> Record:
    return Record("test", 0, sequence, bytes(5_000))


@pytest.fixture(params=["memory", "files"])
def disk(request: pytest.FixtureRequest) -> object:
    made: Disk = MemoryDisk() if request.param == "memory" else FileDisk(random.Random(1))
    yield made
    made.close()


def test_a_disk_outlives_a_crash_and_can_be_set_back(disk: Disk) -> None:
    log = writer(disk)
    log.append(records=[vote(1)])
    old = disk.copy()
    log.append(records=[vote(2)])
    disk.power_off(None)
    assert records(disk) == [1, 2]
    disk.restore(old)
    assert records(disk) == [1]
    writer(disk).append(records=[vote(3)])
    assert records(disk) == [1, 3]
    disk.lose_votes()
    assert records(disk) == []


def test_a_write_that_fails_leaves_nothing(disk: Disk) -> None:
    log = writer(disk)

    def fail() -> None:
        with disk.votes.write() as connection:
            connection.exec_driver_sql("DELETE FROM vote_marks")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    log.append(records=[vote(1)])
    assert records(disk) == [1]


@pytest.mark.parametrize("seed", range(8))
def test_a_torn_write_is_gone_and_what_was_durable_before_it_is_not(seed: int) -> None:
    disk = FileDisk(random.Random(seed))
    try:
        log = writer(disk)
        log.append(records=[vote(1)])
        disk.power_off(lambda: log.append(records=[vote(2), vote(3)]) and None)
        assert disk.torn_writes == 1
        assert records(disk) == [1]
        writer(disk).append(records=[vote(4)])
        assert records(disk) == [1, 4]
    finally:
        disk.close()


# --- links ------------------------------------------------------------------------------------------------------------


class Port:
    """A node that notes what reaches it."""

    def __init__(self, scheduler: Scheduler, index: int, name: str) -> None:
        self.index = index
        self.node_id = NodeId(name.encode())
        self.loop = scheduler.make_loop(lambda context: None)
        self.frames: list[bytes] = []
        self.peers: list[str] = []

    def frame_arrived(self, sender: int, sender_id: NodeId, data: bytes) -> None:
        self.frames.append(data)

    def peer_up(self, peer: NodeId) -> None:
        self.peers.append("+" + peer.decode())

    def peer_down(self, peer: NodeId, reason: str) -> None:
        self.peers.append("-" + peer.decode())


class Wires:
    """A network of noting nodes, connected."""

    def __init__(self, *names: str, **link: int) -> None:
        self.scheduler = Scheduler()
        self.network = Network(self.scheduler, 1, Link(**link), lambda text: None)
        self.ports = [Port(self.scheduler, index, name) for index, name in enumerate(names)]
        for port in self.ports:
            self.network.add(port)
        for port in self.ports:
            self.network.attach(port.index)
        self.after(200)

    def after(self, milliseconds: int) -> None:
        run(self.scheduler, self.scheduler.now_ns + milliseconds * NS_PER_MS)

    def send(self, count: int, to: str = "b") -> list[bytes]:
        frames = [bytes((number,)) for number in range(count)]
        for frame in frames:
            self.network.send(0, NodeId(to.encode()), Channel.VOTES, frame)
        return frames


def test_frames_of_a_link_keep_their_order_unless_it_reorders() -> None:
    wires = Wires("a", "b")
    frames = wires.send(50)
    wires.after(100)
    assert wires.ports[1].frames == frames
    other = Wires("a", "b", reorder=True)
    other.send(50)
    other.after(100)
    assert other.ports[1].frames != frames
    assert sorted(other.ports[1].frames) == frames


def test_frames_are_lost_and_doubled_as_often_as_the_link_says() -> None:
    wires = Wires("a", "b", loss_ppm=250_000, duplicate_ppm=250_000)
    frames = wires.send(200)
    wires.after(100)
    arrived = wires.ports[1].frames
    assert 120 < len(set(arrived)) < 180 < len(frames)
    assert 20 < len(arrived) - len(set(arrived)) < 80


def test_what_is_in_flight_when_a_session_ends_is_lost() -> None:
    wires = Wires("a", "b", "c")
    wires.send(3)
    ways = wires.network.ways_between(((0,), (1, 2)))
    wires.network.cut(ways, 1)
    wires.network.cut(ways, 1)
    wires.after(100)
    wires.network.cut(ways, -1)
    wires.after(300)
    assert wires.network.peers_of(0) == {b"b": False, b"c": False}, "the other fault holds the cut still"
    wires.network.cut(ways, -1)
    wires.after(300)
    assert wires.ports[1].frames == []
    told = wires.ports[0].peers
    assert [sorted(told[at : at + 2]) for at in (0, 2, 4)] == [["+b", "+c"], ["-b", "-c"], ["+b", "+c"]]
    assert set(wires.ports[1].peers) == {"+a", "+c", "-a"}
    wires.send(1)
    wires.after(100)
    assert wires.ports[1].frames == [b"\0"]


def test_a_frame_for_an_identity_reaches_both_copies() -> None:
    wires = Wires("a", "b", "b")
    wires.send(1)
    wires.network.cut([(0, 2)], 1)
    wires.send(2)
    wires.after(100)
    assert [len(port.frames) for port in wires.ports] == [0, 3, 0]
    assert wires.ports[0].peers == ["+b"]
    wires.network.detach(1)
    wires.after(10)
    assert wires.ports[0].peers == ["+b"], "one copy is left"
    wires.network.detach(2)
    wires.after(10)
    assert wires.ports[0].peers == ["+b", "-b"]


# --- signatures -------------------------------------------------------------------------------------------------------


def test_verdicts_are_remembered_whether_good_or_bad() -> None:
    memory = VerificationMemory()
    plain = SigningKey(bytes(31) + b"\1")
    key = SigningKey(bytes(31) + b"\2")
    good = plain.sign_vote(b"yes")
    public = PublicKey(plain.public_key)
    other = PublicKey(key.public_key)
    for _ in range(2):
        assert memory.verify_vote(public, b"yes", good)
        assert not memory.verify_vote(public, b"no", good)
        assert not memory.verify_vote(other, b"yes", good)
    assert memory.checked == 3
    own = memory.key(plain.secret)
    assert memory.verify_vote(public, b"own", own.sign_vote(b"own"))
    assert memory.checked == 3, "who signs need not check"
