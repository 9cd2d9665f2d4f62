"""The simulator's core: one plan gives one run, faults do what they say, and clients go through the real API."""

import os
import subprocess
import sys
from collections.abc import Iterable

import msgspec
import pytest
from sim_networks import WORK, Witness, plan, watched

from potchain.primitives import NS_PER_MS, NS_PER_S, NodeId, uint256
from potchain.replica import wire
from potchain.sim.clients import Clients, script_key
from potchain.sim.cluster import run
from potchain.sim.middleware import Attacker
from potchain.sim.observation import ApiAnswer, Checker, NodeView, PromiseBroken
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
    Twin,
    Workload,
)
from potchain.transactions import Transaction, Transfer
from potchain_pbft import PbftFactory

STORM = plan(
    3,
    link=Link(loss_ppm=20_000, duplicate_ppm=50_000, reorder=True),
    faults=(
        Crash(at_ns=500 * NS_PER_MS, node=2, down_ns=600 * NS_PER_MS),
        Partition(at_ns=1_300 * NS_PER_MS, groups=((0, 1, 2), (3,)), until_ns=2 * NS_PER_S),
        SlowDisk(at_ns=NS_PER_S, node=1, write_ns=30 * NS_PER_MS, until_ns=2 * NS_PER_S),
        SlowNode(at_ns=NS_PER_S, node=2, step_ns=3 * NS_PER_MS, until_ns=2 * NS_PER_S),
        ClockJump(at_ns=NS_PER_S, node=3, by_ms=4_000),
        CutLink(at_ns=NS_PER_S, sender=1, receiver=0, until_ns=1_500 * NS_PER_MS),
        LinkChange(at_ns=2 * NS_PER_S, link=Link(latency_max_ns=80 * NS_PER_MS), until_ns=2_500 * NS_PER_MS),
    ),
)


# --- one plan, one run ------------------------------------------------------------------------------------------------


def test_one_plan_gives_one_run_and_another_seed_another() -> None:
    lines: list[str] = []
    first, _ = watched(STORM, trace=lines.append)
    again, _ = watched(STORM)
    other, _ = watched(msgspec.structs.replace(STORM, seed=4))
    assert again == first
    assert other.trace_digest != first.trace_digest
    assert any("fault: Partition" in line for line in lines)


def test_a_run_is_the_same_in_another_process_whatever_the_hash_seed() -> None:
    program = (
        "from sim_networks import watched; from test_sim_core import STORM; print(watched(STORM)[0].trace_digest)"
    )
    folder = os.path.dirname(__file__)
    digests = set()
    for seed in ("0", "7"):
        paths = os.pathsep.join([folder, os.path.dirname(folder), *filter(None, sys.path)])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert digests == {watched(STORM)[0].trace_digest + "\n"}


def test_a_fault_more_does_not_reshuffle_what_was_before_it() -> None:
    def before(chosen: Plan) -> list[str]:
        lines: list[str] = []
        watched(chosen, trace=lines.append)
        return [line for line in lines if line < "t=2.5"]

    late = ClockJump(at_ns=2_500 * NS_PER_MS, node=1, by_ms=1)
    assert before(plan(5)) == before(plan(5, faults=(late,)))


# --- a quiet network --------------------------------------------------------------------------------------------------


def test_everything_that_a_client_is_promised_is_executed_everywhere() -> None:
    outcome, witness = watched(plan(2))
    assert witness.accepted == WORK.transactions == outcome.transactions
    assert len(set(witness.heights)) == 1
    assert outcome.height == witness.heights[0] > 0
    assert witness.starts == [0, 1, 2, 3]
    assert witness.seconds == 4
    assert {"pre-prepare", "prepare", "commit", "block-vote"} <= set(witness.signed_kinds)
    assert all(count > 50 for count in outcome.boundaries)
    assert witness.final == {index: list(range(1, outcome.height + 1)) for index in range(4)}


def test_clients_go_through_the_shipping_api() -> None:
    _, witness = watched(plan(2))
    reads = {answer.path.partition("?")[0] for answer in witness.answers if answer.method == "GET"}
    assert reads
    assert all(answer.status == 200 for answer in witness.answers if answer.path.startswith("/v1/transactions/"))
    (document,) = [
        msgspec.json.decode(answer.document)
        for answer in witness.answers
        if answer.path.startswith("/v1/transactions/0x")
    ][:1]
    assert document["state"] in ("executed", "pool")
    rubbish = {answer.rubbish: answer.status for answer in witness.answers if answer.rubbish}
    assert rubbish == {"not_json": 400, "bad_signature": 422}


def test_a_second_copy_of_every_transaction_at_every_node_is_executed_once() -> None:
    everywhere = msgspec.structs.replace(WORK, everywhere=True)
    outcome, witness = watched(plan(3, workload=everywhere))
    assert outcome.transactions == WORK.transactions
    assert len([each for each in witness.answers if each.transactions and not each.rubbish]) == 4 * WORK.transactions


def test_a_script_submits_what_it_likes() -> None:
    sent: list[Transaction] = []

    def script(clients: Clients) -> None:
        key, to = script_key(0), script_key(1).address
        for nonce in range(3):
            body = Transfer(key.address, nonce, uint256(10), 0, to, uint256(5), b"by script")
            sent.append(clients.submit_at((1 + nonce) * NS_PER_S, nonce, body, key))
        clients.read_at(6 * NS_PER_S, 2, f"/v1/transactions/0x{sent[0].id.hex()}")

    witness = Witness()
    nothing = Workload(accounts=1, transactions=0, rubbish=0)
    outcome = run(plan(1, seconds=7, workload=nothing), PbftFactory(), checkers=(witness,), script=script)
    assert outcome.violation is None, outcome.violation
    assert outcome.transactions == 3
    assert msgspec.json.decode(witness.answers[-1].document)["state"] == "executed"


def test_an_observer_follows() -> None:
    outcome, witness = watched(plan(2, seconds=7, observers=1))
    assert witness.heights == [outcome.height] * 5


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_other_sizes_of_network(nodes: int) -> None:
    outcome, _ = watched(plan(2, nodes=nodes))
    assert outcome.transactions == WORK.transactions


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_crashed_node_finds_what_was_durable_and_catches_up() -> None:
    outcome, witness = watched(plan(4, faults=(Crash(at_ns=NS_PER_S, node=3, down_ns=NS_PER_S),)))
    assert witness.crashes == [3]
    assert witness.starts == [0, 1, 2, 3, 3]
    assert witness.tips[-1][1] == max(height for height in witness.applied_by[3] if height <= witness.tips[-1][1]) > 0
    assert set(witness.heights) == {outcome.height}


def test_what_was_queued_at_a_power_cut_is_gone_and_what_is_stopped_cleanly_is_kept() -> None:
    def bodies_found(lose: bool) -> str:
        lines: list[str] = []
        slow = SlowDisk(at_ns=0, node=3, write_ns=400 * NS_PER_MS, until_ns=900 * NS_PER_MS)
        cut = Crash(at_ns=850 * NS_PER_MS, node=3, down_ns=200 * NS_PER_MS, lose_unsynced=lose)
        watched(plan(6, faults=(slow, cut)), trace=lines.append)
        (start,) = (line for line in lines if "node3 started, life 2" in line)
        return start.partition(",")[2]

    assert bodies_found(lose=True) != bodies_found(lose=False)


@pytest.mark.parametrize("index", [3, 40, 41, 90, 121, 150])
@pytest.mark.parametrize("torn", [False, True])
def test_a_crash_at_a_boundary_is_survived(index: int, torn: bool) -> None:
    lines: list[str] = []
    fault = CrashAtStep(at_ns=0, node=1 + index % 3, index=index, torn=torn, down_ns=300 * NS_PER_MS)
    outcome, witness = watched(plan(2, seconds=9, faults=(fault,)), trace=lines.append)
    assert witness.crashes == [fault.node]
    assert any(f"node{fault.node} boundary {index}," in line for line in lines)
    assert outcome.transactions == WORK.transactions
    assert set(witness.heights) == {outcome.height}


def test_boundaries_are_the_same_whether_or_not_one_is_used() -> None:
    lines: list[str] = []
    watched(plan(2, faults=(CrashAtStep(at_ns=0, node=2, index=60),)), trace=lines.append)
    crash = next(at for at, line in enumerate(lines) if "boundary 60" in line)
    quiet: list[str] = []
    watched(plan(2), trace=quiet.append)
    assert lines[:crash] == quiet[:crash]


def test_a_partition_ends_sessions_and_healing_brings_everyone_together() -> None:
    lines: list[str] = []
    split = Partition(at_ns=600 * NS_PER_MS, groups=((0, 1, 2), (3,)), until_ns=1_600 * NS_PER_MS)
    outcome, witness = watched(plan(7, faults=(split,)), trace=lines.append)
    assert sum("lost each other" in line for line in lines if line < "t=2") == 3
    during = [line for line in lines if "t=0.7" < line < "t=1.6"]
    assert not any("-> node3" in line or (line.split()[1] == "node3" and "->" in line) for line in during)
    assert outcome.transactions == WORK.transactions
    assert set(witness.heights) == {outcome.height}


def test_a_cut_in_one_direction_loses_frames_and_leaves_the_session() -> None:
    lines: list[str] = []
    cut = CutLink(at_ns=600 * NS_PER_MS, sender=0, receiver=3, until_ns=1_600 * NS_PER_MS)
    watched(plan(7, faults=(cut,)), trace=lines.append)
    lost = [line for line in lines if line.endswith(" cut")]
    assert lost
    assert all("node0 -> node3" in line for line in lost)
    assert not any("lost each other" in line for line in lines if line < "t=2")


def test_a_node_that_lost_its_votes_or_got_old_ones_does_not_vote_and_breaks_nothing() -> None:
    lost = LoseVoteLog(at_ns=1_500 * NS_PER_MS, node=2, down_ns=200 * NS_PER_MS)
    _, witness = watched(plan(8, seconds=9, faults=(lost,)))
    assert witness.learners == [2]
    old = RestoreOldVoteLog(at_ns=1_500 * NS_PER_MS, node=2, copied_ns=300 * NS_PER_MS, down_ns=200 * NS_PER_MS)
    watched(plan(8, seconds=9, faults=(old,)))


# --- liars and twins --------------------------------------------------------------------------------------------------


class Silent:
    """Swallows every frame of one sort."""

    def __init__(self, lie: Byzantine, attacker: Attacker) -> None:
        self.lie = lie
        self.attacker = attacker

    def outgoing(self, to: NodeId, frame: wire.Frame, now_ns: int) -> Iterable[tuple[NodeId, wire.Frame | bytes]]:
        if isinstance(frame, wire.Gossip):
            return ((to, frame), (to, b"\xff rubbish"))
        return ()

    def incoming(self, sender: NodeId, frame: wire.Frame, now_ns: int) -> Iterable[wire.Frame]:
        return (frame,)


def test_frames_of_a_liar_go_through_its_middleware_while_it_lies() -> None:
    class Wire(Checker):
        name = "wire"

        def __init__(self) -> None:
            self.of_liar: list[str] = []
            self.blamed_peers = 0

        def sent(self, node: NodeView, to: NodeId, frame: wire.Frame) -> None:
            if node.index == 3:
                self.of_liar.append(type(frame).__name__)

        def blamed(self, node: NodeView, peer: NodeId, reason: str) -> None:
            self.blamed_peers += 1

    seen = Wire()
    lie = Byzantine(node=3, behaviours=("silent",), from_ns=0, until_ns=2 * NS_PER_S)
    witness = Witness()
    outcome = run(plan(2, byzantine=(lie,)), PbftFactory(), checkers=(seen, witness), middleware=Silent)
    assert outcome.violation is None, outcome.violation
    assert seen.of_liar[0] == "Gossip"
    assert "PeerProgress" in seen.of_liar, "honest again after two seconds"
    assert seen.blamed_peers
    assert witness.signed_kinds, "checkers see what the node inside says"


def test_twins_share_an_identity_and_keep_their_own_books() -> None:
    lines: list[str] = []
    rounds = (((0, 1, 2), (3, 4)), ((0, 1, 3), (2, 4)), ((0, 1, 2, 3, 4),))
    witness = Witness()
    chosen = plan(2, heal_ns=None, twins=(Twin(node=3),), leaders=rounds)
    outcome = run(chosen, PbftFactory(), checkers=(witness,), trace=lines.append)
    assert outcome.violation is None, outcome.violation
    assert witness.starts == [0, 1, 2, 3, 4]
    assert len(outcome.boundaries) == 5
    assert any("node4 -> node0" in line for line in lines)
    assert not any("node3 -> node4" in line or "node4 -> node3" in line for line in lines)


# --- violations -------------------------------------------------------------------------------------------------------


def test_a_checkers_complaint_ends_the_run() -> None:
    class Grumbler(Checker):
        name = "grumbler"

        def answered(self, answer: ApiAnswer) -> None:
            if answer.transactions:
                raise PromiseBroken(answer.node, "no")

    outcome = run(plan(2), PbftFactory(), checkers=(Grumbler(),))
    assert outcome.violation is not None
    assert (outcome.violation.checker, outcome.violation.detail) == ("grumbler", "no")
    assert outcome.virtual_ns == outcome.violation.at_ns < NS_PER_S


def test_an_exception_out_of_an_engine_is_a_violation() -> None:
    class Breaks(PbftFactory):
        def create(self, boot, options):  # type: ignore[no-untyped-def]
            engine = super().create(boot, options)
            step = engine.step

            def broken(event, now_ns):  # type: ignore[no-untyped-def]
                if now_ns > NS_PER_S:
                    raise ZeroDivisionError("a bug")
                return step(event, now_ns)

            engine.step = broken  # type: ignore[method-assign]
            return engine

    outcome = run(plan(2), Breaks())
    assert outcome.violation is not None
    assert outcome.violation.checker == "exception"
    assert "ZeroDivisionError: a bug, in broken" in outcome.violation.detail
