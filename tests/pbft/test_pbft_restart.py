"""Crashes at every durable write, and whole schedules of faults: no node ever contradicts itself, all agree."""

from __future__ import annotations

from functools import partial
from operator import is_

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pbft_cluster import Cluster, Packet
from pbft_host import Disk
from pbft_members import FACTORY, GENESIS_HASH, digest_of, make_proposal, sign

from potchain.consensus.interface import Boot, BuildProposal, CheckProposal, Misbehaviour, Record, Send, Started
from potchain.errors import CodecError
from potchain_pbft import PbftOptions

SEQUENCES = 5


def small_cluster(nodes: int = 4) -> Cluster:
    cluster = Cluster(nodes, checkpoint_interval=2, log_window=4, in_flight_max=2)
    cluster.start()
    return cluster


def certify_all(cluster: Cluster) -> None:
    for height in range(2, min(host.disk.executed for host in cluster.hosts) + 1, 2):
        cluster.certify(height)


def heal(cluster: Cluster, up_to: int) -> None:
    """Every node up, nothing lost any more, hosts re-send and catch up: all must decide."""
    for _ in range(3 * up_to + 3):
        cluster.start()
        for host in cluster.hosts:
            host.crash_at = None
            host.resend()
        cluster.batches = 2
        for host in cluster.hosts:
            host.give_work()
        cluster.run()
        best = max(cluster.hosts, key=lambda host: host.disk.executed)
        for host in cluster.hosts:
            for sequence in range(host.disk.executed + 1, best.disk.executed + 1):
                host.certificate_from(best, sequence)
        certify_all(cluster)
        if all(host.disk.executed >= up_to for host in cluster.hosts):
            break
    cluster.check_agreement(up_to)


def writes_of_a_quiet_run(index: int) -> int:
    cluster = small_cluster()
    cluster.work(SEQUENCES)
    cluster.run()
    certify_all(cluster)
    cluster.run()
    cluster.check_agreement(SEQUENCES)
    return cluster.hosts[index].writes


@pytest.mark.parametrize("index", [0, 1])
def test_a_crash_after_any_durable_write_contradicts_nothing(index: int) -> None:
    total = writes_of_a_quiet_run(index)
    assert total > 5 * SEQUENCES
    for crash_at in range(1, total + 1):
        cluster = small_cluster()
        cluster.hosts[index].crash_at = crash_at
        cluster.work(SEQUENCES)
        cluster.run()
        assert cluster.hosts[index].engine is None or crash_at > cluster.hosts[index].writes
        heal(cluster, SEQUENCES)


def test_all_nodes_crash_at_once() -> None:
    for crash_at in range(2, 24, 3):
        cluster = small_cluster()
        for host in cluster.hosts:
            host.crash_at = crash_at
        cluster.work(SEQUENCES)
        cluster.run()
        cluster.wire = []
        heal(cluster, SEQUENCES)


def test_a_single_node_restarts_and_goes_on() -> None:
    for crash_at in range(1, 30):
        cluster = small_cluster(1)
        cluster.hosts[0].crash_at = crash_at
        cluster.work(SEQUENCES)
        heal(cluster, SEQUENCES)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["deliver", "deliver", "deliver", "burst", "repeat", "drop", "crash", "start", "resend", "work"]
        ),
        st.integers(min_value=0, max_value=1_000),
    ),
    max_size=60,
)


@given(actions=ACTIONS)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_any_schedule_of_faults_ends_in_agreement(actions: list[tuple[str, int]]) -> None:
    cluster = small_cluster()
    cluster.work(2)
    for action, number in actions:
        host = cluster.hosts[number % 4]
        packet = cluster.wire[number % len(cluster.wire)] if cluster.wire else None
        if action in ("deliver", "repeat"):
            cluster.deliver(partial(is_, packet), keep=action == "repeat")
        elif action == "burst":
            cluster.deliver(partial(is_for, number % 4))
        elif action == "drop":
            cluster.drop(partial(is_, packet))
        elif action == "crash":
            host.crash_at = host.writes + number % 5 + 1
        elif action == "start" and host.engine is None:
            host.crash_at = None
            host.start()
        elif action == "resend":
            host.resend()
        elif action == "work":
            cluster.work(1)
    heal(cluster, SEQUENCES)


def is_for(index: int, packet: Packet) -> bool:
    return packet.to == index


def boot(disk: Disk, index: int, cluster: Cluster) -> Boot:
    return Boot(
        genesis_hash=GENESIS_HASH,
        me=cluster.epoch.ids[index],
        epoch=cluster.epoch,
        decided=0,
        executed=0,
        stable=0,
        records=tuple(disk.records),
        own_messages=tuple(disk.own_messages),
        proposals=tuple(proposal for held in disk.pinned.values() for proposal in held),
    )


def stopped_after(index: int, kind: str) -> tuple[Cluster, Disk]:
    """A node's disk right after it has made durable its first message of a kind."""
    cluster = Cluster()
    host = cluster.hosts[index]
    cluster.start()
    cluster.work(1)
    while not any(message.kind == kind for message in host.disk.own_messages):
        cluster.deliver(partial(is_, cluster.wire[0]))
    return cluster, host.disk


def test_what_was_durable_but_not_sent_is_sent_after_the_start() -> None:
    """Record written, power lost before the message was signed: the same message is due."""
    for index, kind in ((0, "pre-prepare"), (1, "prepare"), (1, "commit")):
        cluster, disk = stopped_after(index, kind)
        disk.own_messages = [message for message in disk.own_messages if message.kind != kind]
        engine = FACTORY.create(boot(disk, index, cluster), PbftOptions())
        sends = [(send.kind, send.digest) for send in engine.step(Started(), 0).send]
        assert (kind, digest_of(make_proposal(cluster.epoch, 1))) in sends


def test_an_accepted_proposal_without_bodies_is_checked_again_but_not_its_clock() -> None:
    for index, sources in ((0, (1, 2, 3)), (1, (0,))):
        cluster, disk = stopped_after(index, "pre-prepare" if index == 0 else "prepare")
        disk.pinned, disk.own_messages = {}, []
        engine = FACTORY.create(boot(disk, index, cluster), PbftOptions())
        effects = engine.step(Started(), 0)
        (ask,) = [ask for ask in effects.ask if isinstance(ask, CheckProposal)]
        assert not ask.fresh
        assert ask.sources == tuple(cluster.epoch.ids[source] for source in sources)
        assert effects.send == ()


def test_a_restarted_primary_goes_on_above_what_it_proposed() -> None:
    cluster, disk = stopped_after(0, "pre-prepare")
    engine = FACTORY.create(boot(disk, 0, cluster), PbftOptions())
    assert BuildProposal(2, 0) in engine.step(Started(), 0).ask


def test_a_restarted_backup_accepts_no_second_digest() -> None:
    cluster, disk = stopped_after(1, "prepare")
    host = cluster.hosts[1]
    host.crash()
    host.start()
    cluster.wire = []
    cluster.inject(0, "pre-prepare", make_proposal(cluster.epoch, 1, salt=1), 1)
    cluster.deliver()
    (report,) = host.reports
    assert isinstance(report, Misbehaviour)
    assert report.first.digest == digest_of(make_proposal(cluster.epoch, 1))
    assert len(disk.own_messages) == 1


def test_records_that_cannot_be_read_stop_the_start() -> None:
    cluster = Cluster()
    for record in (Record("view-zoom", 0, 1, b""), Record("accepted", 0, 1, b"\x00"), Record("prepared", 0, 1, b"")):
        with pytest.raises(CodecError):
            FACTORY.create(boot(Disk(records=[record]), 1, cluster), PbftOptions())


def test_own_messages_without_their_record_stop_the_start() -> None:
    """They cannot exist by the host rules; to go on could contradict them."""
    for index, kind in ((0, "pre-prepare"), (1, "prepare"), (1, "commit")):
        cluster, disk = stopped_after(index, kind)
        disk.records = []
        with pytest.raises(CodecError, match="vote log is damaged"):
            FACTORY.create(boot(disk, index, cluster), PbftOptions())


def test_what_the_stable_checkpoint_covers_is_left_out() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(3)
    cluster.run()
    old = msgspec.structs.replace(boot(cluster.hosts[1].disk, 1, cluster), stable=2, decided=3, executed=3)
    status = FACTORY.create(old, PbftOptions()).status()
    assert (status.low_water_mark, status.last_decided) == (2, 3)
    assert (status.buffers["slots"], status.buffers["proposals"], status.buffers["commits"]) == (1, 1, 1)


def test_sends_are_for_everybody() -> None:
    """The normal case multicasts; nothing of it is for one member alone."""
    cluster = Cluster()
    cluster.start()
    cluster.work(1)
    cluster.run()
    sends: list[Send] = [send for host in cluster.hosts for effects in host.effects for send in effects.send]
    assert sends
    assert all(send.to is None for send in sends)
    assert sign(0, "commit", 0, 1, sends[0].digest).sender == cluster.epoch.ids[0]
