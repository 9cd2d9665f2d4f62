"""The link model between the host and the send queues, in virtual time: order, counts and the model's own moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from tcp_network import HOST, node_id_of, node_key_of

from potchain import FRAME_OVERHEAD_BYTES, OFF, Channel, Conditions, LinkProfile, NodeId, Outbound, Peer, Phase, Rule
from potchain.sim.scheduler import Scheduler
from potchain_tcp.downlink import Incoming
from potchain_tcp.queues import SendQueue
from potchain_tcp.shaping import EARLY_MAX_NS, TIMER_STEP_NS, Outgoing

MS = 1_000_000
S = 1_000 * MS
ME = "node0"


class Recorder:
    """A peer with real send queues, and when what arrived there."""

    def __init__(self, index: int, now_ns: Callable[[], int], bytes_max: int = 1_000_000) -> None:
        self.peer = Peer(node_id=node_id_of(index), name=f"node{index}", node_key=node_key_of(index), host=HOST, port=0)
        self.queues = SendQueue(Channel.VOTES, bytes_max), SendQueue(Channel.BULK, bytes_max)
        self.arrivals: list[tuple[int, Channel, bytes]] = []
        self.reading = True
        self.pauses = 0
        self._now_ns = now_ns

    def reserve(self, channel: Channel, frame: bytes) -> bool:
        return self.queues[channel].reserve(frame)

    def arrived(self, channel: Channel, frame: bytes) -> None:
        self.queues[channel].release(frame)  # written at once
        self.arrivals.append((self._now_ns(), channel, frame))

    def release(self, channel: Channel, frame: bytes) -> None:
        self.queues[channel].release(frame)

    def pause_reading(self) -> None:
        self.reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        self.reading = True

    @property
    def frames(self) -> list[bytes]:
        return [frame for _, _, frame in self.arrivals]

    @property
    def held_bytes(self) -> int:
        return sum(queue.bytes_queued for queue in self.queues)


class World:
    """One node's `Outgoing` in virtual time, with peers."""

    def __init__(self, profile: LinkProfile, peers: int = 1, bytes_max: int = 1_000_000) -> None:
        self.scheduler = Scheduler()
        self.lines = [Recorder(index + 1, self.now_ns, bytes_max) for index in range(peers)]
        self.flushes = 0
        loop = self.scheduler.make_loop(lambda context: pytest.fail(str(context)))
        self.outgoing = Outgoing(profile, ME, loop, self._flush, self.now_ns)

    def now_ns(self) -> int:
        return self.scheduler.now_ns

    def _flush(self) -> None:
        self.flushes += 1

    def send(self, frame: bytes, channel: Channel = Channel.VOTES, to: int = 0) -> bool:
        return self.outgoing.send(self.lines[to], channel, frame)

    def run(self, for_ns: int) -> None:
        self.scheduler.run(self.scheduler.now_ns + for_ns, lambda: False)


def profile_of(seed: int = 7, down_bits_per_s: int = 0, **conditions: object) -> LinkProfile:
    rule = Rule(conditions=Conditions(**conditions))  # type: ignore[arg-type]
    return LinkProfile(seed=seed, phases=(Phase(rules=(rule,), down_bits_per_s=down_bits_per_s),)).checked()


def frames_of(count: int, size: int = 100) -> list[bytes]:
    return [number.to_bytes(size, "big") for number in range(count)]


@pytest.mark.parametrize(
    "conditions",
    [
        {"latency_ns": 50 * MS},
        {"latency_ns": 20 * MS, "distribution": "uniform"},
        {"bandwidth_bits_per_s": 10_000},
        {"bandwidth_bits_per_s": 125_000_000},
        {"bandwidth_bits_per_s": 1_000_000, "latency_ns": 300 * MS, "distribution": "jitter", "jitter_ns": 100 * MS},
        {"latency_ns": 30 * MS, "distribution": "uniform", "reorder": True},
    ],
    ids=str,
)
def test_frames_arrive_when_the_model_says_and_errors_do_not_add_up(conditions: dict[str, object]) -> None:
    profile = profile_of(**conditions)
    world, model = World(profile), Outbound(profile, ME, 0)
    expected: dict[bytes, int] = {}
    for number, frame in enumerate(frames_of(1_000)):
        assert world.send(frame)
        model.offer("node1", frame, len(frame) + FRAME_OVERHEAD_BYTES, urgent=True, now_ns=world.now_ns())
        if number % 3 == 0:
            world.run(700_001)
    for departure in model.collect(10_000 * S):
        assert isinstance(departure.item, bytes)
        (expected[departure.item],) = departure.arrives_ns
    world.run(200 * S)
    (line,) = world.lines
    assert sorted(line.frames) == list(expected)
    assert line.frames == list(expected) or "reorder" in conditions
    for at_ns, _, frame in line.arrivals:
        assert -EARLY_MAX_NS <= at_ns - expected[frame] <= TIMER_STEP_NS
    assert line.held_bytes == 0
    assert world.flushes <= 1_000 + 200, "the timer rings for what is due, not to look whether something is"


def test_nothing_happens_while_nothing_is_due() -> None:
    world = World(profile_of(latency_ns=600 * S))
    world.send(b"far away")
    world.run(590 * S)
    assert world.flushes == 0
    world.run(20 * S)
    assert (world.flushes, world.lines[0].frames) == (1, [b"far away"])


def test_votes_overtake_bulk_that_waits() -> None:
    world = World(profile_of(bandwidth_bits_per_s=1_000_000))
    bodies, votes = frames_of(5, 10_000), frames_of(3)
    for body in bodies:
        assert world.send(body, Channel.BULK)
    world.run(100 * MS)  # the first has left, the second is on its way
    for vote in votes:
        assert world.send(vote)
    world.run(1 * S)
    assert world.lines[0].frames == [bodies[0], *votes, *bodies[1:]]


def test_waiting_and_flying_frames_share_the_bound_of_the_queue() -> None:
    world = World(profile_of(bandwidth_bits_per_s=8 * 108 * 10, latency_ns=500 * MS), peers=2, bytes_max=1_080)
    accepted = [world.send(frame, to=0) for frame in frames_of(15)]
    assert accepted == [True] * 10 + [False] * 5
    assert world.send(b"to another peer", to=1)
    assert world.send(bytes(100), Channel.BULK), "the other channel has a queue of its own"
    world.run(450 * MS)
    assert not world.send(b"four have left, but fly" + bytes(60))
    world.run(200 * MS)
    assert world.send(bytes(100)), "one has arrived"
    world.run(10 * S)
    assert [len(line.frames) for line in world.lines] == [12, 1]
    assert all(line.held_bytes == 0 for line in world.lines)


def test_loss_and_duplicates_follow_from_the_seed() -> None:
    def outcome(seed: int) -> tuple[list[bytes], int]:
        world = World(profile_of(seed, loss_ppm=200_000, duplicate_ppm=100_000, latency_ns=MS))
        for frame in frames_of(1_000):
            assert world.send(frame)
        world.run(1 * S)
        assert world.lines[0].held_bytes == 0, "lost frames give their room back, copies have their own"
        return world.lines[0].frames, world.outgoing.frames_lost

    frames, lost = outcome(1)
    assert (frames, lost) == outcome(1)
    assert frames != outcome(2)[0]
    assert len(set(frames)) == 1_000 - lost
    assert 150 < lost < 250
    assert 40 < len(frames) - len(set(frames)) < 130


def test_a_copy_without_room_is_not_made() -> None:
    world = World(profile_of(duplicate_ppm=999_999, latency_ns=MS), bytes_max=1_080)
    assert [world.send(frame) for frame in frames_of(6)] == [True] * 5 + [False]
    world.run(1 * S)
    assert world.lines[0].frames == [frame for frame in frames_of(5) for _ in range(2)]


def test_the_end_of_a_session_loses_its_frames_only() -> None:
    world = World(profile_of(bandwidth_bits_per_s=8 * 108 * 10, latency_ns=300 * MS), peers=2)
    for frame in frames_of(10):
        assert world.send(frame, to=0)
        assert world.send(frame, to=1)
    world.run(550 * MS)
    assert len(world.lines[0].frames) == 2
    lost = world.outgoing.forget(world.lines[0])
    assert lost == 8
    for queue in world.lines[0].queues:
        queue.clear()
    assert world.send(b"of the next session")
    world.run(10 * S)
    assert world.lines[0].frames == [*frames_of(2), b"of the next session"]
    assert world.lines[1].frames == frames_of(10)
    assert world.lines[0].held_bytes == 0


def test_changed_conditions_hold_for_what_waits_and_keep_the_order() -> None:
    world = World(profile_of(bandwidth_bits_per_s=8 * 108 * 10, latency_ns=300 * MS))
    frames = frames_of(101)
    for frame in frames[:100]:
        assert world.send(frame)
    world.run(450 * MS)
    world.outgoing.change(profile_of(bandwidth_bits_per_s=8 * 108 * 1_000))
    assert world.send(frames[100])
    world.run(30 * MS)
    assert world.lines[0].frames == frames[:1], "what left earlier is not overtaken"
    world.run(1 * S)
    assert world.lines[0].frames == frames


def test_with_conditions_off_everything_comes_at_once() -> None:
    world = World(profile_of(bandwidth_bits_per_s=8 * 108 * 10, latency_ns=300 * MS))
    frames = frames_of(100)
    for frame in frames:
        assert world.send(frame)
    world.run(450 * MS)
    assert len(world.lines[0].frames) == 1
    flushes = world.flushes
    world.outgoing.end()
    assert world.lines[0].frames == frames
    assert world.lines[0].held_bytes == 0
    world.run(10 * S)
    assert world.flushes == flushes, "no timer is left"


def test_stopped_conditions_deliver_nothing() -> None:
    world = World(profile_of(latency_ns=5 * MS))
    assert world.send(b"too late")
    world.outgoing.stop()
    world.run(1 * S)
    assert world.lines[0].frames == []


class Downlink:
    """One node's `Incoming` in virtual time."""

    def __init__(self, profile: LinkProfile, bytes_max: int = 10_000) -> None:
        self.scheduler = Scheduler()
        self.lines = [Recorder(index, self.now_ns) for index in (1, 2)]
        self.heard: list[tuple[int, int, Channel, list[bytes]]] = []
        loop = self.scheduler.make_loop(lambda context: pytest.fail(str(context)))
        self.incoming = Incoming(profile, ME, loop, self._received, bytes_max, self.now_ns)

    def now_ns(self) -> int:
        return self.scheduler.now_ns

    def _received(self, peer: NodeId, channel: Channel, frames: Sequence[bytes]) -> None:
        self.heard.append((self.now_ns(), peer[0] - 1, channel, list(frames)))

    def come(self, sender: int, *frames: bytes, channel: Channel = Channel.BULK) -> None:
        self.incoming.received(self.lines[sender - 1], channel, frames)

    def run(self, for_ns: int) -> None:
        self.scheduler.run(self.scheduler.now_ns + for_ns, lambda: False)

    def frames_of(self, sender: int) -> list[bytes]:
        return [frame for _, who, _, frames in self.heard if who == sender for frame in frames]


# 1,000 bytes with their header take 10 ms.
NARROW = profile_of(down_bits_per_s=800_000)


def test_a_shared_downlink_passes_one_frame_after_another_in_order() -> None:
    downlink = Downlink(NARROW)
    first, second = frames_of(4, 992), frames_of(4, 992)
    downlink.come(1, *first[:2])
    downlink.come(2, *second)
    downlink.come(1, *first[2:], channel=Channel.VOTES)
    downlink.run(1 * S)
    assert [who for _, who, _, _ in downlink.heard] == [1, 1, 2, 2, 2, 2, 1, 1]
    assert downlink.frames_of(1) == first
    assert downlink.frames_of(2) == second
    for number, (at_ns, _, _, _) in enumerate(downlink.heard, 1):
        assert -EARLY_MAX_NS <= at_ns - number * 10 * MS <= TIMER_STEP_NS


def test_what_came_as_slowly_as_the_downlink_is_not_held() -> None:
    downlink = Downlink(profile_of(down_bits_per_s=800_000, bandwidth_bits_per_s=800_000))
    for frame in frames_of(3, 992):
        downlink.run(10 * MS)
        downlink.come(1, frame)
        assert downlink.frames_of(1)[-1] == frame


def test_small_frames_that_are_through_together_come_together() -> None:
    downlink = Downlink(profile_of(down_bits_per_s=800_000_000))
    downlink.come(1, *frames_of(20, 12))
    downlink.run(1 * S)
    assert downlink.frames_of(1) == frames_of(20, 12)
    assert len(downlink.heard) == 1


def test_nothing_is_read_from_a_peer_of_which_too_much_is_held() -> None:
    downlink = Downlink(NARROW)
    one, other = downlink.lines
    downlink.come(1, *frames_of(10, 992))
    assert one.reading
    downlink.come(1, *frames_of(2, 992))
    downlink.come(1, *frames_of(1, 992))
    assert not one.reading
    assert one.pauses == 1
    downlink.come(2, *frames_of(5, 992))
    assert other.reading
    downlink.run(75 * MS)
    assert not one.reading
    downlink.run(20 * MS)
    assert one.reading
    downlink.run(1 * S)
    assert len(downlink.frames_of(1)) == 13
    assert len(downlink.frames_of(2)) == 5


def test_the_end_of_a_session_loses_what_is_held_of_it() -> None:
    downlink = Downlink(NARROW)
    downlink.come(1, *frames_of(15, 992))
    downlink.come(2, *frames_of(2, 992))
    downlink.incoming.forget(downlink.lines[0])
    downlink.run(1 * S)
    assert downlink.frames_of(1) == []
    assert downlink.frames_of(2) == frames_of(2, 992)


def test_a_changed_downlink_holds_for_what_is_held() -> None:
    downlink = Downlink(NARROW)
    frames = frames_of(12, 992)
    downlink.come(1, *frames)
    downlink.incoming.change(profile_of(down_bits_per_s=8_000_000))
    downlink.run(15 * MS)
    assert downlink.frames_of(1) == frames
    assert downlink.lines[0].reading
    downlink.come(1, *frames)
    downlink.incoming.end()
    assert downlink.frames_of(1) == [*frames, *frames]
    assert downlink.lines[0].reading


def test_the_host_may_end_it_all_while_it_is_told() -> None:
    downlink = Downlink(NARROW)
    ends = downlink.incoming.end
    downlink.incoming._received = lambda peer, channel, frames: (downlink._received(peer, channel, frames), ends())[0]
    downlink.come(1, *frames_of(12, 992))
    downlink.run(1 * S)
    assert downlink.frames_of(1) == frames_of(12, 992)
    downlink.come(2, *frames_of(12, 992))
    downlink.incoming.stop()
    downlink.run(1 * S)
    assert downlink.frames_of(2) == []


def test_off_has_no_phases_and_a_profile_of_zeros_is_off() -> None:
    assert OFF.off
    assert profile_of().off
