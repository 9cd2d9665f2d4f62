"""Random schedules of faults for a PBFT cluster: one seed determines everything.

First chaos: messages in any order, lost or doubled, partitions, crashes at any durable write, timers at any time, lies
of faulty members. At every decision the hosts must agree, and what is decided must have been prepared by a quorum.
Then the faults end (faulty members may go on), and every correct node must execute new sequences within a bound.

    python tests/pbft_random.py 17            replay one seed, every step written down
    python tests/pbft_random.py 0-5000        run many, and say which fail
"""

from __future__ import annotations

import sys
import traceback
from random import Random

from pbft_cluster import NS_PER_MS, Cluster, Packet
from pbft_host import Host
from pbft_liar import Liar
from pbft_members import block_certificate
from pbft_rounds import play_rounds

from potchain.blocks import BlockCertificate
from potchain.codec import decode
from potchain.consensus.interface import ConsensusMessage, Effects, Event, WorkWaiting
from potchain.consensus.quorum import Quorum
from potchain.errors import PotchainError
from potchain.primitives import NodeId
from potchain_pbft.messages import PreparedCertificate

SECOND_NS = 1_000 * NS_PER_MS
HEAL_BOUND_NS = 30 * SECOND_NS
"""Time within which a healed network must decide. Timeouts are 1 s to 4 s here; 9 s is the most that was seen."""
WIRE_MAX = 600
"""Packets on the wire; above this the oldest are lost."""
LOSSES = {
    "pre-prepare": (0.5, 1.0), "prepare": (0.5, 1.0), "commit": (0.8, 1.0), "view-change": (0.4,), "new-view": (0.7,),
}  # fmt: skip
"""How much of a kind is lost in a weather that loses some of it."""

ACTIONS = {
    "deliver": 15, "burst": 40, "lose": 4, "repeat": 4, "crash": 1, "restart": 10, "time": 4, "tick": 12, "answer": 10,
    "check": 12, "cut": 1, "join": 4, "certify": 8, "catch up": 2, "lie": 6, "work": 3, "fire": 2, "accuse": 2,
    "sides": 1, "weather": 4, "reborn": 1,
}  # fmt: skip


class RecordedCluster(Cluster):
    """Remembers what was sent, for those who lie about it."""

    history: list[ConsensusMessage]

    def post(self, sender: Host, message: ConsensusMessage, to: NodeId | None) -> None:
        self.history.append(message)
        super().post(sender, message, to)


class World:
    """One seed's network and what it suffers."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = Random(seed)
        nodes = rng.choice((1, 2, 3, 4, 4, 4, 4, 4, 4, 5, 7))
        faulty = rng.sample(range(nodes), rng.randint(0, Quorum(nodes).faults_max))
        self.faults = {member: rng.choice(("silent", "lies", "twins", "twins and lies")) for member in faulty}
        interval = rng.choice((1, 2, 4))
        self.cluster = RecordedCluster(
            nodes,
            observers=rng.choice((0, 0, 0, 1)),
            twins=[member for member, fault in self.faults.items() if "twins" in fault],
            checkpoint_interval=interval,
            log_window=interval * rng.choice((2, 3)),
            in_flight_max=rng.choice((1, 2, 4)),
            view_timeout_ms=1_000,
            view_timeout_cap_ms=4_000,
        )
        self.cluster.history = []
        self.cluster.unaudited.update(self.faults)
        self.cluster.observer = self.on_step
        self.certificates: dict[int, BlockCertificate] = {}
        self.liars = [
            Liar(self.cluster, member, rng, self.cluster.history, self.certificates)
            for member, fault in self.faults.items()
            if "lies" in fault
        ]
        self.correct = [host for host in self.cluster.hosts if host.member not in self.faults]
        self.cluster.epoch_change = rng.randint(1, 6) if rng.random() < 0.15 else None
        for host in rng.sample(self.correct, rng.randint(0, len(self.correct)) if rng.random() < 0.4 else 0):
            host.answers_checks = False
        self.losses = self.weather()
        self.sides = [rng.random() < 0.5 for _ in self.cluster.hosts]
        """Which one of two twins a host hears: that makes them equivocate."""
        self.cut: set[tuple[int, int]] = set()
        self.weights = [weight * rng.choice((0.2, 1.0, 1.0, 3.0)) for weight in ACTIONS.values()]
        self.decided: dict[int, bytes] = {}
        self.prepared: dict[tuple[int, bytes], set[int]] = {}
        self.views = [0] * len(self.cluster.hosts)
        self.progress_ns = [0] * len(self.cluster.hosts)

    # --- checks -----------------------------------------------------------------------------------------------------

    def on_step(self, host: Host, event: Event, effects: Effects) -> None:
        """Safety, at every step of a correct node."""
        if host.member in self.faults:
            return
        for record in effects.persist:
            if record.kind == "prepared":
                entry = decode(PreparedCertificate, record.data)
                self.prepared.setdefault((entry.sequence, entry.digest), set()).add(host.member)
        for decision in effects.decide:
            first = self.decided.setdefault(decision.sequence, decision.digest)
            assert first == decision.digest, f"the nodes disagree at sequence {decision.sequence}"
            prepared = len(self.prepared.get((decision.sequence, decision.digest), ()))
            quorum = self.cluster.quorum.quorum
            assert prepared + len(self.faults) >= quorum, f"sequence {decision.sequence}: only {prepared} prepared"
            self.progress_ns[host.index] = self.cluster.now_ns
        assert host.engine is not None
        if effects.send or effects.decide:
            view = host.engine.status().view
            assert view >= self.views[host.index], f"node{host.member} went back to view {view}"
            self.views[host.index] = view

    def check_bounds(self) -> None:
        """Nothing has grown beyond its bound."""
        members = len(self.cluster.epoch.members)
        window = self.cluster.epoch.parameters.log_window
        slots = window * 6
        bounds = {"slots": slots, "pre_prepares": 2 * slots, "proposals": 10 * slots}
        bounds |= {"prepares": slots * members, "commits": slots * members}
        for host in self.correct:
            assert host.engine is not None
            for name, size in host.engine.status().buffers.items():
                assert size <= bounds.get(name, max(window, members)), f"{name} has grown to {size}"

    # --- chaos ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """The whole story."""
        rng = self.rng
        self.cluster.start()
        for host in self.cluster.hosts:
            if self.faults.get(host.member) == "silent":
                host.crash_at = host.writes + rng.randint(1, 30)
        self.cluster.work(rng.choice((1, 4, 20)))
        if rng.random() < 0.7:
            play_rounds(self)
        for _ in range(rng.choice((0, 0, 20, 60, 120, 200))):
            (action,) = rng.choices(list(ACTIONS), self.weights)
            self.act(action)
        self.heal()
        self.check_bounds()

    def act(self, action: str) -> None:
        """One thing that happens."""
        rng, cluster = self.rng, self.cluster
        host = rng.choice(cluster.hosts)
        if action in ("deliver", "burst"):
            for _ in range(1 if action == "deliver" else rng.choice((3, 10, 30, 100))):
                self.deliver_one()
        elif action == "weather":
            self.losses = self.weather()
        elif action == "lose" and cluster.wire:
            del cluster.wire[rng.randrange(len(cluster.wire))]
        elif action == "repeat" and cluster.wire:
            cluster.wire.append(rng.choice(cluster.wire))
        elif action == "crash" and host.engine is not None:
            host.crash_at = host.writes + rng.randint(1, 6)
        elif action == "restart":
            self.restart(host)
        elif action == "time":
            cluster.advance(rng.choice((1, 50, 300, 1_200, 5_000)) * NS_PER_MS)
        elif action == "tick":
            for each in cluster.hosts:
                if rng.random() < 0.6:
                    self.tick(each)
        elif action == "answer":
            for other in rng.sample(cluster.hosts, rng.randint(1, len(cluster.hosts))):
                if other is not host and (other.index, host.index) not in self.cut:
                    cluster.answer(host, other)
        elif action == "check" and host.checks:
            host.answer_check("bodies are missing" if rng.random() < 0.15 else None)
        elif action == "cut":
            count = 1 if rng.random() < 0.5 else rng.randint(1, len(cluster.hosts))
            side = rng.sample(range(len(cluster.hosts)), count)
            others = [each.index for each in cluster.hosts if each.index not in side]
            self.cut.update((one, other) for one in side for other in others)
            if rng.random() < 0.7:
                self.cut.update((other, one) for one in side for other in others)
        elif action == "join":
            self.cut.clear()
        elif action == "certify":
            self.certify()
        elif action == "catch up":
            self.catch_up(host, rng.choice(cluster.hosts), 2)
        elif action == "lie" and self.liars:
            rng.choice(self.liars).lie()
        elif action == "work":
            cluster.work(rng.randint(1, 3))
        elif action == "fire" and host.timers:
            host.fire(rng.choice(sorted(host.timers)))
        elif action == "accuse":
            cluster.now_ns += rng.choice((2, 9)) * SECOND_NS
            for each in rng.sample(cluster.hosts, rng.randint(1, len(cluster.hosts))):
                each.feed(WorkWaiting(1, 0))
        elif action == "reborn":
            host.reborn(listens=rng.random() < 0.3)
        elif action == "sides":
            self.sides = [rng.random() < 0.5 for _ in cluster.hosts]
        del cluster.wire[:-WIRE_MAX]

    def weather(self) -> dict[tuple[str, int], float]:
        """How much of each kind of message is lost for a while, on its way to each host."""
        rng = self.rng
        stormy = [kind for kind in LOSSES if rng.random() < 0.5]
        return {
            (kind, host.index): rng.choice((0.0, *LOSSES[kind])) if kind in stormy else 0.0
            for kind in LOSSES
            for host in self.cluster.hosts
        }

    def deliver_one(self) -> None:
        """Any packet; those across a cut are lost."""
        wire = self.cluster.wire
        if wire:
            packet = wire.pop(self.rng.randrange(len(wire)) if self.rng.random() < 0.6 else 0)
            if self.rng.random() >= self.losses[packet.message.kind, packet.to]:
                self.hand_over(packet)

    def hand_over(self, packet: Packet) -> None:
        hosts = self.cluster.hosts
        twin = "twins" in self.faults.get(hosts[packet.sender].member, "")
        if twin and self.sides[packet.to] != (packet.sender < len(self.cluster.epoch.members)):
            return
        if (packet.sender, packet.to) not in self.cut:
            hosts[packet.to].receive(packet.message)

    def restart(self, host: Host) -> None:
        if host.engine is None and self.faults.get(host.member) != "silent":
            host.crash_at = None
            host.start()

    def tick(self, host: Host) -> None:
        """What a host does every second."""
        host.neglected_ns = self.progress_ns[host.index] if self.cluster.batches else None
        host.resend()
        host.tell_work()

    def certify(self) -> None:
        """Block certificates that a quorum can make now, to some of the nodes; faulty ones sign whatever is true."""
        interval = self.cluster.epoch.parameters.checkpoint_interval
        members = range(len(self.cluster.epoch.members))
        executed = {host.member: host.disk.executed for host in self.correct if host.member in members}
        signers = [*executed, *self.faults]
        for height in range(interval, max(executed.values(), default=0) + 1, interval):
            able = [member for member in signers if member in self.faults or executed[member] >= height]
            if height not in self.certificates and len(able) >= self.cluster.quorum.quorum:
                chosen = self.rng.sample(able, self.cluster.quorum.quorum)
                self.certificates[height] = block_certificate(height, *chosen)
        for host in self.cluster.hosts:
            if self.rng.random() < 0.6:
                self.give_certificates(host)

    def give_certificates(self, host: Host) -> None:
        for height, certificate in self.certificates.items():
            if height > host.disk.stable:
                host.certified(certificate)

    def catch_up(self, host: Host, other: Host, count: int) -> None:
        """Order certificates from a node that is ahead."""
        if other.engine is None or (other.index, host.index) in self.cut:
            return
        first = host.disk.executed + 1
        for sequence in range(first, min(first + count, other.disk.executed + 1)):
            if host.engine is not None and sequence not in host.ahead:
                host.certificate_from(other, sequence)

    # --- heal -------------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """No more faults but lies: everyone decides new sequences in time."""
        rng, cluster = self.rng, self.cluster
        self.cut.clear()
        stay = rng.random() < 0.5
        strict = rng.random() < 0.5
        """Only certified heights are caught up on; what is above must come by votes that are sent again."""
        for host in cluster.hosts:
            host.crash_at = None
            if host.member in self.faults and not stay:
                host.crash()
            elif self.faults.get(host.member) != "silent" and host.engine is None:
                host.start()
            host.reborn(listens=False)
        began_ns = cluster.now_ns
        goal = max(host.disk.executed for host in self.correct) + 3
        following = cluster.next_epoch(goal - 3)
        if following is not None:
            goal = following.first_sequence - 1
        self.progress_ns = [began_ns] * len(cluster.hosts)
        next_tick_ns = began_ns
        while min(host.disk.executed for host in self.correct) < goal:
            assert cluster.now_ns < began_ns + HEAL_BOUND_NS, f"no progress to {goal}: {self.picture()}"
            if cluster.now_ns >= next_tick_ns:
                next_tick_ns = cluster.now_ns + SECOND_NS
                cluster.batches = 0 if following else max(cluster.batches, 2)
                self.certify()
                for host in cluster.hosts:
                    if host.engine is not None:
                        self.give_certificates(host)
                        best = max(self.correct, key=lambda each: each.disk.executed)
                        last = max(self.certificates, default=0) if strict else best.disk.executed
                        self.catch_up(host, best, max(0, last - host.disk.executed))
                        self.tick(host)
            if stay and self.liars:
                rng.choice(self.liars).lie()
            self.settle()
            timer = cluster.next_timer()
            cluster.advance(min(next_tick_ns, timer[0] if timer else next_tick_ns) - cluster.now_ns)
        for sequence in range(1, goal + 1):
            assert len({host.disk.decisions[sequence].digest for host in self.correct}) == 1

    def settle(self) -> None:
        """Deliver all there is, in random order, a millisecond for each round."""
        cluster = self.cluster
        for _ in range(100):
            for host in cluster.hosts:
                host.give_work()
                while host.checks and host.engine is not None:
                    host.answer_check()
            cluster.answer_all()
            if not cluster.wire:
                return
            packets, cluster.wire = cluster.wire, []
            self.rng.shuffle(packets)
            for packet in packets:
                self.hand_over(packet)
            cluster.advance(NS_PER_MS)
            cluster.batches += cluster.batches == 1

    def picture(self) -> str:
        """Where everybody stands."""
        lines = [f"\n  {len(self.cluster.epoch.members)} members, faulty {self.faults}"]
        for host in self.correct:
            assert host.engine is not None
            status = host.engine.status()
            lines.append(
                f"  node{host.member}: executed {host.disk.executed}, marks ({status.low_water_mark}, "
                f"{status.high_water_mark}], view {status.view} {status.mode}, timers {host.timers}, "
                f"in flight {[(slot.sequence, slot.phase) for slot in status.in_flight]}, "
                f"waits for {status.view_change and status.view_change.missing}"
            )
        return "\n".join(lines)


def seeds_of(text: str) -> range:
    """`17` or `0-5000`."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def fault_of(seed: int) -> str | None:
    """What goes wrong with a seed, and how to see it again; None when all is well."""
    world = World(seed)
    try:
        world.run()
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError, PotchainError) as fault:
        where = traceback.extract_tb(fault.__traceback__)[-1]
        return (
            f"seed {seed}: {type(fault).__name__} in {where.name}: {fault}\n"
            f"  replay with: python tests/pbft_random.py {seed}"
        )
    return None


def _trace(seed: int) -> None:
    from pbft_trace import Player

    world = World(seed)
    player = Player()
    player.cluster = world.cluster

    def observer(host: Host, event: Event, effects: Effects) -> None:
        player.on_step(host, event, effects)
        print("\n".join(player.lines))
        player.lines.clear()
        world.on_step(host, event, effects)

    world.cluster.observer = observer
    world.run()


if __name__ == "__main__":
    seeds = seeds_of(sys.argv[1])
    if len(seeds) == 1:
        _trace(seeds[0])
    else:
        for number, fault in enumerate(filter(None, map(fault_of, seeds)), start=1):
            print(fault, f"that makes {number} of at most {len(seeds)}", sep="\n", flush=True)
        print("done")
