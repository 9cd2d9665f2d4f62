"""The replica as a whole: four of them over a wire, disks and a clock that the test holds."""

from collections.abc import Callable

import pytest
from replica_cluster import RICH, Cluster, Node, frames_of, is_vote

from potchain.blocks import BLOCK_VOTE, Proposal, build_proposal, proposal_digest
from potchain.consensus.interface import ConsensusMessage
from potchain.dissemination import DisseminationOptions
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.replica import wire
from potchain.replica.actions import Blame, FrameReceived, Notice, Persist
from potchain.replica.chain import UNAPPLIED_MAX

BACKUP = 2


def pre_prepares(cluster: Cluster) -> dict[int, int]:
    """Transactions in each proposal that was sent, by sequence."""
    found = {}
    for frame in frames_of(cluster, [ConsensusMessage]):
        if is_vote(frame, "pre-prepare"):
            assert isinstance(frame, ConsensusMessage)
            found[frame.sequence] = (len(frame.body) - 200) // 34
    return found


def proposed(cluster: Cluster) -> list[int]:
    """How many transactions each durable block of the first node holds."""
    return [len(ids) for ids in cluster.block_ids(cluster.nodes[0])]


# --- the normal case ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 3], ids=["through the primary", "through a backup"])
def test_a_transfer_becomes_final_on_all_four(at: int) -> None:
    cluster = Cluster()
    ticket = cluster.submit(at, cluster.transfer("alice", 0, 7))
    cluster.settle()
    ((_, status, _, _),) = cluster.nodes[at].outcomes[ticket]
    assert status == "accepted"
    cluster.assert_agreement(1)
    assert cluster.balance(cluster.nodes[1], "alice") == RICH - 7 - 10
    assert cluster.balance(cluster.nodes[1], "bob") == RICH + 7
    assert not any(node.replica.has_work for node in cluster.nodes)


def test_a_network_of_one_needs_nobody() -> None:
    cluster = Cluster(nodes=1)
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.settle()
    cluster.assert_agreement(1)
    assert not cluster.sent


def test_a_refused_transaction_gets_its_code_and_goes_nowhere() -> None:
    cluster = Cluster()
    cluster.settle()
    ticket = cluster.submit(1, cluster.transfer("alice", 0, fee=1), cluster.transfer("alice", 0, RICH))
    cluster.settle()
    codes = [code for _, _, code, _ in cluster.nodes[1].outcomes[ticket]]
    assert codes == ["insufficient_fee", "insufficient_funds"]
    assert not frames_of(cluster, [wire.Gossip])


def test_the_answer_to_a_client_and_gossip_wait_for_the_disk() -> None:
    cluster = Cluster()
    cluster.settle()
    node = cluster.nodes[BACKUP]
    node.disk_works = False
    ticket = cluster.submit(BACKUP, cluster.transfer("alice", 0))
    cluster.settle()
    assert ticket not in node.outcomes
    assert not frames_of(cluster, [wire.Gossip])
    cluster.write_one(node)
    cluster.settle()
    assert ticket in node.outcomes
    assert frames_of(cluster, [wire.Gossip], BACKUP)


def test_an_idle_network_sends_progress_and_nothing_else() -> None:
    cluster = Cluster()
    cluster.settle()
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.settle()
    cluster.advance(1_500)
    cluster.sent.clear()
    cluster.advance(5_000)
    assert len(frames_of(cluster, [wire.PeerProgress])) == len(cluster.sent) > 0
    cluster.assert_agreement(1)


# --- batching -------------------------------------------------------------------------------------------------------


def test_with_nothing_in_flight_a_transaction_is_proposed_at_once() -> None:
    cluster = Cluster(batch_delay_ms=50)
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.settle()
    assert proposed(cluster) == [1]


def test_with_proposals_in_flight_a_few_wait_for_company_and_no_longer_than_the_delay() -> None:
    cluster = Cluster(batch_delay_ms=50)
    for node in cluster.nodes[1:]:
        node.disk_works = False
    for nonce in range(4):
        cluster.submit(0, cluster.transfer("alice", nonce))
        cluster.settle()
    assert list(pre_prepares(cluster)) == [1]
    cluster.advance(49)
    assert list(pre_prepares(cluster)) == [1]
    cluster.advance(2)
    assert list(pre_prepares(cluster)) == [1, 2]
    for node in cluster.nodes:
        node.disk_works = True
    cluster.settle()
    assert proposed(cluster) == [1, 3]


def test_a_full_batch_does_not_wait() -> None:
    cluster = Cluster(batch_delay_ms=50, batch_max=3)
    for node in cluster.nodes[1:]:
        node.disk_works = False
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.settle()
    cluster.submit(0, *[cluster.transfer("alice", nonce) for nonce in range(1, 6)])
    cluster.settle()
    assert list(pre_prepares(cluster)) == [1, 2]
    for node in cluster.nodes:
        node.disk_works = True
    cluster.advance(60)
    assert proposed(cluster) == [1, 3, 2]


def test_no_more_than_in_flight_max_proposals_are_undecided() -> None:
    cluster = Cluster(in_flight_max=3, batch_max=1)
    for node in cluster.nodes[1:]:
        node.disk_works = False
    cluster.submit(0, *[cluster.transfer("alice", nonce) for nonce in range(8)])
    cluster.advance(100)
    assert list(pre_prepares(cluster)) == [1, 2, 3]
    for node in cluster.nodes:
        node.disk_works = True
    cluster.advance(100)
    cluster.assert_agreement(8)


def test_execution_runs_ahead_of_the_ledger_by_its_bound_only() -> None:
    cluster = Cluster(in_flight_max=16, batch_max=1)
    cluster.settle()
    node = cluster.nodes[BACKUP]
    cluster.submit(0, *[cluster.transfer("alice", nonce) for nonce in range(14)])
    node.disk_works = False
    for _ in range(200):
        cluster.settle()
        if not node.journal:
            break
        held, node.books = node.books, type(node.books)()
        cluster.write_one(node)
        node.books = held
    assert node.replica.tip.height == UNAPPLIED_MAX
    assert node.replica.applied == 0
    assert not [frame for frame in frames_of(cluster, [ConsensusMessage], BACKUP) if is_vote(frame, BLOCK_VOTE)]
    node.disk_works = True
    cluster.settle()
    cluster.assert_agreement(14)


# --- bodies and clocks ----------------------------------------------------------------------------------------------


def test_a_backup_that_gossip_did_not_reach_fetches_the_bodies_and_votes() -> None:
    cluster = Cluster()
    cluster.crash(3)  # so that the others need this backup's votes
    cluster.passes = lambda sender, to, frame: not (to == BACKUP and isinstance(frame, wire.Gossip))
    cluster.submit(0, cluster.transfer("alice", 0), cluster.transfer("carol", 0))
    cluster.settle()
    assert cluster.nodes[BACKUP].replica.tip.height == 0
    cluster.advance(DisseminationOptions().body_grace_ms)
    assert [len(frame.ids) for frame in frames_of(cluster, [wire.FetchBodies]) if hasattr(frame, "ids")] == [2]
    assert any(is_vote(frame, "prepare") for frame in frames_of(cluster, [ConsensusMessage], BACKUP))
    cluster.assert_agreement(1)


def test_bodies_are_asked_of_the_next_holder_when_the_first_does_not_answer() -> None:
    cluster = Cluster()
    cluster.crash(3)
    primary = cluster.primary

    def passes(sender: int, to: int, frame: wire.Frame) -> bool:
        if to != BACKUP:
            return True
        return not isinstance(frame, wire.Gossip) and not (sender == primary and isinstance(frame, wire.BodiesAnswer))

    cluster.passes = passes
    cluster.submit(primary, cluster.transfer("alice", 0))
    cluster.settle()
    cluster.advance(DisseminationOptions().body_grace_ms)
    assert cluster.nodes[BACKUP].replica.tip.height == 0
    cluster.advance(550)
    targets = [to for sender, to, frame in cluster.sent if isinstance(frame, wire.FetchBodies) and sender == BACKUP]
    assert targets[0] == primary
    assert targets[1] != primary
    cluster.assert_agreement(1)


def test_a_body_that_was_replaced_in_a_pool_still_executes() -> None:
    cluster = Cluster()
    node = cluster.nodes[BACKUP]
    cheap, dear = cluster.transfer("alice", 0, 1), cluster.transfer("alice", 0, 2, fee=100)
    # The commits are held back, so the first is in flight everywhere when the second takes its place in one pool.
    cluster.passes = lambda sender, to, frame: not is_vote(frame, "commit")
    cluster.submit(0, cheap)
    cluster.settle()
    cluster.submit(BACKUP, dear)
    cluster.settle()
    assert not node.replica.pool.contains(cheap.id)
    assert node.replica.pool.get(cheap.id) == cheap
    cluster.heal()
    cluster.advance(3_000)
    height = node.replica.tip.height
    cluster.assert_agreement(height)
    assert cluster.block_ids(node)[0] == (cheap.id,)
    assert cluster.balance(node, "bob") == RICH + 1
    assert not node.replica.pool.contains(dear.id)


def test_a_skipped_inclusion_that_can_become_valid_returns_to_the_pool() -> None:
    cluster = Cluster(batch_max=1)
    # Both are in flight at once; the first leaves 5, which does not pay the fee of the second.
    first, second = cluster.transfer("alice", 0, RICH - 15), cluster.transfer("alice", 1, 1)
    cluster.submit(0, first, second)
    cluster.advance(100)
    cluster.assert_agreement(2)
    assert [block.receipts[0].status for block in cluster.nodes[1].disk.blocks] == ["ok", "skipped"]
    assert all(node.replica.pool.contains(second.id) for node in cluster.nodes)
    assert not any(node.replica.has_work for node in cluster.nodes)
    cluster.submit(1, cluster.transfer("carol", 0, 100, to="alice"))
    cluster.advance(100)
    cluster.assert_agreement(4)
    assert cluster.block_ids(cluster.nodes[1])[3] == (second.id,)
    assert cluster.nodes[1].disk.blocks[3].receipts[0].status == "ok"


def test_a_fresh_proposal_with_a_wrong_clock_is_refused_and_taken_when_the_clock_is_right() -> None:
    cluster = Cluster(clock_bound_ms=1_000)
    cluster.settle()
    cluster.clock_ahead_ms[cluster.primary] = 1_500
    cluster.submit(cluster.primary, cluster.transfer("alice", 0))
    cluster.settle()
    assert [node.replica.tip.height for node in cluster.nodes] == [0, 0, 0, 0]
    assert not any(is_vote(frame, "prepare") for frame in frames_of(cluster, [ConsensusMessage]))
    assert any("timestamp" in each.text for each in cluster.nodes[1].others if isinstance(each, Notice))
    cluster.advance(3_000)  # by now the proposal's time is near, and the primary has sent it again
    cluster.assert_agreement(1)


# --- losses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pre-prepare", "prepare", "commit", BLOCK_VOTE])
def test_lost_messages_are_sent_again_after_a_second_without_progress(kind: str) -> None:
    cluster = Cluster()
    cluster.passes = lambda sender, to, frame: not is_vote(frame, kind)
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.advance(900)
    assert all(node.certified == 0 for node in cluster.nodes)
    cluster.heal()
    cluster.advance(2_500)
    cluster.assert_agreement(1)


def test_one_node_without_bodies_gets_the_block_from_another() -> None:
    cluster = Cluster()
    cluster.passes = lambda sender, to, frame: not (to == BACKUP and isinstance(frame, wire.Gossip))
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.settle()
    assert cluster.nodes[0].certified == 1
    cluster.advance(4_000)
    cluster.assert_agreement(1)


def test_one_node_without_commits_gets_the_block_from_another() -> None:
    cluster = Cluster()
    cluster.passes = lambda sender, to, frame: not (to == BACKUP and is_vote(frame, "commit"))
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.settle()
    assert cluster.nodes[BACKUP].replica.tip.height == 0
    cluster.advance(4_000)
    assert frames_of(cluster, [wire.FetchBlocks], BACKUP)
    cluster.assert_agreement(1)


def test_one_node_without_block_votes_gets_the_certificate_from_another() -> None:
    cluster = Cluster()
    cluster.passes = lambda sender, to, frame: not (to == BACKUP and is_vote(frame, BLOCK_VOTE))
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.settle()
    assert cluster.nodes[BACKUP].certified == 0
    cluster.advance(4_000)
    assert frames_of(cluster, [wire.FetchCertificates], BACKUP)
    cluster.assert_agreement(1)


def test_one_node_without_the_proposal_gets_it_from_another() -> None:
    cluster = Cluster()
    cluster.passes = lambda sender, to, frame: not (to == BACKUP and is_vote(frame, "pre-prepare"))
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.settle()
    assert frames_of(cluster, [wire.FetchProposal], BACKUP)
    cluster.advance(4_000)
    cluster.assert_agreement(1)


class Asking:
    """A network in which some get no pre-prepare, and no answer to their questions for the proposal."""

    def __init__(self, *lacking: int) -> None:
        self.cluster = cluster = Cluster(nodes=7)
        cluster.settle()
        self.began_ns = cluster.now_ns
        self.asked: dict[int, list[int]] = {}
        """By second since the beginning: whom `BACKUP` asked."""
        self._lacking = lacking
        cluster.passes = self._passes
        cluster.submit(0, cluster.transfer("alice", 0))

    def _passes(self, sender: int, to: int, frame: wire.Frame) -> bool:
        if isinstance(frame, wire.FetchProposal) and sender == BACKUP:
            second = (self.cluster.now_ns - self.began_ns) // NS_PER_S
            self.asked.setdefault(second, []).append(to)
        lost = wire.ProposalAnswer | wire.BlocksAnswer
        return to not in self._lacking or not (isinstance(frame, lost) or is_vote(frame, "pre-prepare"))


def test_a_proposal_is_asked_of_two_others_then_of_more_then_more_and_more_seldom() -> None:
    asking = Asking(BACKUP)
    asking.cluster.advance(20_000)
    everybody = [3, 4, 5, 6, 0, 1]
    assert {second: sorted(peers) for second, peers in asking.asked.items()} == {
        0: [3, 4], 1: [0, 1, 5, 6], **dict.fromkeys((2, 4, 8, 16), sorted(everybody))
    }  # fmt: skip
    asking.cluster.heal()
    asking.cluster.advance(9_000)
    asking.cluster.assert_agreement(1)


def test_who_is_known_to_hold_a_proposal_is_asked_first() -> None:
    asking = Asking(BACKUP, BACKUP + 1)
    asking.cluster.settle()
    assert asking.asked == {0: [4, 5]}


def test_who_connects_is_asked_for_what_is_missing_and_nobody_else() -> None:
    asking = Asking(BACKUP)
    asking.cluster.advance(17_000)
    asking.asked.clear()
    asking.cluster.crash(5)
    asking.cluster.start(5)
    asking.cluster.advance(2_000)
    assert list(asking.asked.values()) == [[5]]


def test_bodies_of_a_proposal_that_was_asked_for_come_from_who_sent_it() -> None:
    cluster = Cluster(nodes=7)
    cluster.settle()
    # The others get no commits: whoever holds the proposal sends that, and not yet the block.
    cluster.passes = lambda sender, to, frame: not (
        is_vote(frame, "commit") if to != BACKUP else isinstance(frame, wire.Gossip) or is_vote(frame, "pre-prepare")
    )
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.advance(500)
    answers = [sender for sender, to, frame in cluster.sent if isinstance(frame, wire.ProposalAnswer)]
    asked = [to for sender, to, frame in cluster.sent if sender == BACKUP and isinstance(frame, wire.FetchBodies)]
    assert answers
    assert asked[:1] == answers[:1]


def test_a_peer_that_is_gone_is_not_asked_for_a_proposal() -> None:
    cluster = Cluster(nodes=7)
    cluster.settle()
    cluster.crash(BACKUP + 1)
    cluster.passes = lambda sender, to, frame: not (to == BACKUP and is_vote(frame, "pre-prepare"))
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.settle()
    asked = [to for sender, to, frame in cluster.sent if isinstance(frame, wire.FetchProposal)]
    assert asked == [BACKUP + 2, BACKUP + 3]


def test_a_proposal_whose_ids_are_not_the_headers_is_not_taken() -> None:
    """The digest covers the header alone; a peer that answers with other ids must not plant them."""
    cluster = Cluster()
    answers = wire.ProposalAnswer | wire.BlocksAnswer
    cluster.passes = lambda sender, to, frame: (
        not (to == BACKUP and (is_vote(frame, "pre-prepare") or isinstance(frame, answers)))
    )
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.settle()
    node = cluster.nodes[BACKUP]
    asked = next(frame for frame in frames_of(cluster, [wire.FetchProposal], BACKUP))
    assert isinstance(asked, wire.FetchProposal)
    good = cluster.nodes[0].disk.blocks[0].proposal
    assert proposal_digest(good.header) == asked.digest
    other = build_proposal(cluster.genesis.hash, 0, 1, 1, cluster.epoch.ids[0], [bytes(32)])
    for ids in ((), other.transaction_ids):
        forged = Proposal(good.header, ids)
        node.inbox.append(FrameReceived(cluster.epoch.ids[1], wire.ProposalAnswer(forged)))
    cluster.settle()
    assert asked.digest not in node.disk.proposals
    cluster.heal()
    cluster.advance(4_000)
    cluster.assert_agreement(1)


def test_a_node_that_was_cut_off_catches_up_by_blocks() -> None:
    cluster = Cluster(checkpoint_interval=4, log_window=8, batch_max=1)
    cluster.settle()
    cluster.cut_off(BACKUP)
    for nonce in range(30):
        cluster.submit(0, cluster.transfer("alice", nonce))
        cluster.advance(10)
    assert cluster.nodes[BACKUP].replica.tip.height == 0
    assert cluster.nodes[0].certified == 30
    cluster.heal()
    cluster.advance(5_000)
    cluster.assert_agreement(30)
    cluster.submit(BACKUP, cluster.transfer("bob", 0, to="carol"))
    cluster.advance(1_000)
    cluster.assert_agreement(31)
    votes = [f for f in frames_of(cluster, [ConsensusMessage], BACKUP) if is_vote(f, "prepare")]
    assert votes, "it takes part again"


def test_checkpoints_bound_what_is_kept() -> None:
    cluster = Cluster(checkpoint_interval=4, log_window=8, batch_max=1)
    for nonce in range(24):
        cluster.submit(nonce % 4, cluster.transfer("alice", nonce))
        cluster.advance(10)
    cluster.advance(2_000)
    cluster.assert_agreement(24)
    for node in cluster.nodes:
        assert node.replica.engine.status().low_water_mark == 24
        sizes = node.replica.sizes()
        for name in ("own_messages", "block_votes", "blocks_uncertified", "proposals_pinned", "synced_bodies"):
            assert sizes[name] == 0, (name, sizes)
        assert not node.disk.messages
        assert not node.disk.records
        assert not node.disk.guard
        assert not node.disk.bodies, "bodies of executed transactions are forgotten"
        assert node.replica.pool.status().pinned_count == 0


# --- faults ---------------------------------------------------------------------------------------------------------


def test_the_others_leave_a_dead_primary_and_it_finds_its_way_back() -> None:
    cluster = Cluster()
    cluster.settle()
    cluster.crash(cluster.primary)
    cluster.submit(1, cluster.transfer("alice", 0))
    cluster.advance(1_900)
    assert all(node.replica.has_work and node.replica.tip.height == 0 for node in cluster.live)
    cluster.advance(1_200)
    assert {node.replica.engine.status().view for node in cluster.live} == {1}
    cluster.assert_agreement(1)
    cluster.start(cluster.primary)
    cluster.submit(cluster.primary, cluster.transfer("alice", 1))
    cluster.advance(3_000)
    cluster.assert_agreement(2)
    assert {node.replica.engine.status().view for node in cluster.live} == {1}


def test_with_two_of_four_gone_the_others_wait_and_say_so() -> None:
    cluster = Cluster()
    cluster.settle()
    cluster.crash(cluster.primary)
    cluster.crash(3)
    cluster.submit(1, cluster.transfer("alice", 0))
    cluster.advance(20_000)
    for node in cluster.live:
        status = node.replica.engine.status()
        assert (node.replica.tip.height, node.replica.has_work) == (0, True)
        assert (status.view, status.mode) == (1, "view change"), "without a quorum nobody goes on alone"
        assert status.view_change is not None
        assert status.view_change.missing == {"view-change": ["v0", "v3"]}
    cluster.start(3)
    cluster.advance(6_000)
    cluster.assert_agreement(1)


def test_what_no_replica_should_send_is_blamed_and_harms_nothing() -> None:
    cluster = Cluster()
    cluster.settle()
    node = cluster.nodes[0]
    node.inbox.append(FrameReceived(cluster.epoch.ids[1], wire.BlocksAnswer(())))
    cluster.settle()
    assert [action.peer for action in node.others if isinstance(action, Blame)] == [cluster.epoch.ids[1]]


class PowerCut(Exception):
    """Right after a write."""


def crash_at(cluster: Cluster, victim: int, write: int) -> Callable[[Node], None]:
    """Cuts a node's power when its batch number `write`, from 1, has just become durable."""

    def after_write(node: Node) -> None:
        if node is cluster.nodes[victim] and node.disk.writes == write:
            raise PowerCut

    return after_write


def busy_minute(cluster: Cluster, victim: int) -> None:
    """Three senders, some blocks, and a node that may lose its power in between; it comes back 300 ms later."""
    for nonce in range(3):
        for number, sender in enumerate(("alice", "bob", "carol")):
            cluster.submit((number + 1) % 4 if victim == 0 else 0, cluster.transfer(sender, nonce, to="carol"))
            try:
                cluster.advance(6)
            except PowerCut:
                cluster.crash(victim)
                cluster.advance(300)
                cluster.start(victim)
    try:
        cluster.advance(500)
    except PowerCut:
        cluster.crash(victim)
        cluster.start(victim)
    cluster.advance(6_000)


@pytest.mark.parametrize("victim", [0, BACKUP], ids=["primary", "backup"])
def test_a_crash_after_any_write_contradicts_nothing_and_the_network_goes_on(victim: int) -> None:
    quiet = Cluster(checkpoint_interval=4, log_window=8, batch_max=2)
    busy_minute(quiet, victim)
    quiet.assert_agreement(quiet.nodes[0].replica.tip.height)
    writes = quiet.nodes[victim].disk.writes
    assert writes > 20
    for write in range(1, writes + 1):
        cluster = Cluster(checkpoint_interval=4, log_window=8, batch_max=2)
        cluster.after_write = crash_at(cluster, victim, write)
        busy_minute(cluster, victim)
        cluster.assert_agreement(cluster.nodes[0].replica.tip.height)
        included = [each for ids in cluster.block_ids(cluster.nodes[0]) for each in ids]
        assert len(set(included)) == 9, f"crash after write {write}"
        assert not cluster.nodes[victim].disk.bodies, f"crash after write {write} leaves bodies for ever"


def test_all_nodes_crash_at_once_with_proposals_in_flight() -> None:
    cluster = Cluster(batch_max=1)
    cluster.settle()
    cluster.passes = lambda sender, to, frame: not is_vote(frame, "commit")
    cluster.submit(0, *[cluster.transfer("alice", nonce) for nonce in range(4)])
    cluster.advance(50)
    for index in range(4):
        cluster.crash(index)
    cluster.wire.clear()
    cluster.heal()
    for index in range(4):
        cluster.start(index)
    cluster.advance(3_000)
    cluster.assert_agreement(4)


def test_a_step_never_raises_for_what_is_late_or_repeated() -> None:
    cluster = Cluster(checkpoint_interval=4, log_window=8, batch_max=1)
    for nonce in range(10):
        cluster.submit(0, cluster.transfer("alice", nonce))
        cluster.advance(10)
    everything = [(sender, frame) for sender, to, frame in cluster.sent if to == BACKUP]
    for sender, frame in everything:
        if not isinstance(frame, wire.Gossip | wire.BlocksAnswer | wire.BodiesAnswer | wire.CertificatesAnswer):
            cluster.nodes[BACKUP].inbox.append(FrameReceived(cluster.epoch.ids[sender], frame))
    cluster.settle()
    cluster.advance(2_000)
    cluster.assert_agreement(10)
    assert cluster.now_ns > 2_000 * NS_PER_MS


def test_tokens_are_persisted_in_order() -> None:
    cluster = Cluster()
    cluster.settle()
    node = cluster.nodes[0]
    node.disk_works = False
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.submit(0, cluster.transfer("carol", 0))
    cluster.settle()
    tokens = [work.token for work in node.journal if isinstance(work, Persist)]
    assert tokens == sorted(tokens)
    assert len(tokens) >= 2
    assert node.replica.sizes()["steps_waiting_for_disk"] == len(tokens)
