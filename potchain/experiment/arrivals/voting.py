"""Prepare, commit and reply as order statistics over matrices [receiver, sender].

A node prepares when it accepts, commits with quorum - 1 prepares of backups, decides with a quorum of commits, its own
included, and replies when it has executed that block and those before it. Votes of a node wait for its own earlier
votes alone, and never for bodies. A node that learns the decision before it could prepare says nothing any more.
"""

from __future__ import annotations

import msgspec
import numpy as np

from potchain.blocks import BLOCK_VOTE
from potchain.experiment.arrivals.downlinks import Downlinks, waiting_ns
from potchain.experiment.arrivals.latencies import Numbers, Times
from potchain.experiment.arrivals.network import PRIMARY, Network, Votes
from potchain.experiment.arrivals.pipes import Mask, queue_by_time
from potchain.experiment.arrivals.senders import reports_before
from potchain.experiment.arrivals.spreading import Spread
from potchain.experiment.arrivals.traffic import REPORT_BYTES

PHASES = ("prepare", "commit", BLOCK_VOTE)
"""What every node sends of a block, in this order."""


class VoteTakes(msgspec.Struct, frozen=True):
    """How long one copy of each vote takes to leave; all zero in the bound."""

    prepare_ns: float
    commit_ns: float
    reply_ns: float


class Replies(msgspec.Struct, frozen=True):
    """What came of the votes."""

    votes: Votes
    """For the next pass: prepares of all blocks, then commits, then replies."""
    silent: Mask
    """[block, node]: it will not vote in the next pass, for it learns the decision first."""
    executed_ns: Times
    """By node: everything."""
    at_client_ns: Times
    """Ascending: replies for the last block."""
    last_ns: tuple[float, float]
    """When the last prepare and the last commit of all have arrived."""


class Voting:
    """All votes of one run."""

    def __init__(self, network: Network, takes: VoteTakes, downlinks: Downlinks) -> None:
        self._downlinks = downlinks
        self._network = network
        self._takes = takes
        self._nodes = network.up
        self._report_ns = network.rates.one_ns(REPORT_BYTES)
        self._turns: Numbers | None = None
        """[receiver, sender]: how many copies leave up to this receiver's, where all share a pipe."""
        if network.rates.node:
            place = np.arange(self._nodes)
            self._turns = place[:, None] + 1 - (place[:, None] > place)

    def run(self, spread: Spread, earlier: Votes | None, silent: Mask | None) -> Replies:
        """One pass, on what is known of an earlier one."""
        accepted_ns = spread.accepted_ns
        blocks = len(accepted_ns)
        thresholds = self._network.thresholds
        offered_ns = np.full((len(PHASES) * blocks, self._nodes), np.inf)
        if earlier is not None and earlier.offered_ns.shape == offered_ns.shape:
            offered_ns = earlier.offered_ns.copy()
        prepares, commits, replies = (slice(part * blocks, (part + 1) * blocks) for part in range(len(PHASES)))
        one_ns = self._one_ns(spread, blocks)
        silent = np.zeros_like(accepted_ns, dtype=bool) if silent is None or len(silent) != blocks else silent
        offered_ns[prepares] = np.where(silent, np.inf, accepted_ns)
        # The primary's vote of this phase is its pre-prepare, which takes its place among its votes.
        urgent = np.array([first for _, first in spread.proposals.sizes])
        offered_ns[prepares, PRIMARY] = np.where(urgent, spread.proposals.proposed_ns, np.inf)

        begins_ns, ranks = self._begin(offered_ns, one_ns)
        own_ns = np.where(silent, np.inf, accepted_ns)
        own_ns[:, PRIMARY] = np.inf
        prepared_ns = np.empty_like(accepted_ns)
        last_prepare_ns = last_commit_ns = 0.0
        for block in range(blocks):
            sent_ns = begins_ns[block].copy()
            sent_ns[PRIMARY] = np.inf
            arrives_ns = self._arrive(block, sent_ns, ranks[block], self._takes.prepare_ns, spread)
            last_prepare_ns = max(last_prepare_ns, _latest(arrives_ns))
            enough_ns, _ = reached(arrives_ns, own_ns[block], thresholds.quorum - 1)
            prepared_ns[block] = np.maximum(enough_ns, accepted_ns[block])
        offered_ns[commits] = np.where(silent, np.inf, prepared_ns)

        begins_ns, ranks = self._begin(offered_ns, one_ns)
        decided_ns = np.empty_like(accepted_ns)
        for block in range(blocks):
            row = blocks + block
            arrives_ns = self._arrive(row, begins_ns[row], ranks[row], self._takes.commit_ns, spread)
            last_commit_ns = max(last_commit_ns, _latest(arrives_ns))
            enough_ns, others_ns = reached(arrives_ns, offered_ns[row], thresholds.quorum)
            decided_ns[block] = np.maximum(enough_ns, accepted_ns[block])
            silent[block] = others_ns < accepted_ns[block]
        executed_ns = np.maximum.accumulate(decided_ns, axis=0)
        offered_ns[replies] = executed_ns

        begins_ns, ranks = self._begin(offered_ns, one_ns)
        at_client_ns = self._reply(begins_ns[-1], offered_ns[replies])
        if self._network.rates.node:
            for row in range(2 * blocks, 3 * blocks):
                begins_ns[row] += self._takes.reply_ns
                self._arrive(row, begins_ns[row], ranks[row], self._takes.reply_ns, spread)
        offered_ns[prepares, PRIMARY] = np.inf
        votes = Votes(offered_ns, one_ns, decided_ns[:, PRIMARY])
        return Replies(votes, silent, executed_ns[-1], at_client_ns, (last_prepare_ns, last_commit_ns))

    def _one_ns(self, spread: Spread, blocks: int) -> Times:
        """[vote, node]: what one copy takes to leave."""
        each_ns = np.array([self._takes.prepare_ns, self._takes.commit_ns, self._takes.reply_ns])
        one_ns = np.repeat(np.repeat(each_ns, blocks)[:, None], self._nodes, axis=1)
        one_ns[:blocks, PRIMARY] = spread.arrivals.lead_takes_ns
        return one_ns

    def _begin(self, offered_ns: Times, one_ns: Times) -> tuple[Times, Numbers]:
        """[vote, node]: when the first copy of each begins to leave, and its rank among the node's votes."""
        takes_ns = one_ns * self._network.copies()
        if self._turns is not None:
            blocks = len(takes_ns) // len(PHASES)
            takes_ns[-blocks:] += one_ns[-blocks:]  # a reply's first copy is the client's
        return queue_by_time(offered_ns, takes_ns)

    def _arrive(self, row: int, begins_ns: Times, ranks: Numbers, takes_ns: float, spread: Spread) -> Times:
        """[receiver, sender]: when a vote of each node is at each other one; never at itself."""
        latencies = self._network.latencies
        kind = latencies.dtype
        # A number, a row for all receivers, or a matrix: what is the same for many is added once.
        left_ns = begins_ns + (takes_ns if self._turns is None else self._turns * takes_ns)
        numbers = self._numbers(begins_ns, ranks, spread) if latencies.exact else None
        arrives_ns = latencies.among_all(row, numbers)
        arrives_ns += left_ns.astype(kind)
        np.fill_diagonal(arrives_ns, np.inf)
        if self._network.rates.node:
            arrivals = spread.arrivals
            arrivals.votes_ns.append(arrives_ns)
            arrivals.votes_take_ns.append(takes_ns)
            waits_ns = self._downlinks.votes(row, len(PHASES) * len(arrivals.pre_prepares_ns))
            return arrives_ns.copy() if waits_ns is None else arrives_ns + waits_ns
        return arrives_ns

    def _numbers(self, begins_ns: Times, ranks: Numbers, spread: Spread) -> Numbers:
        """[receiver, sender]: how many frames left before a vote on each link."""
        turns = self._turns if self._turns is not None else np.ones((self._nodes, self._nodes), dtype=np.int64)
        bulk = reports_before(begins_ns - turns * self._report_ns)
        for node, sending in spread.sent.items():
            bulk[:, node] = sending.bulk.before(float(begins_ns[node]))
        return np.asarray(bulk + ranks)

    def _reply(self, begins_ns: Times, replies_ns: Times) -> Times:
        """When the replies for the last block are at the client, ascending.

        `begins_ns`: when they begin to leave a pipe that all links share; `replies_ns`: when those of all blocks could.
        """
        takes_ns = np.full_like(replies_ns, self._takes.reply_ns)
        if not self._network.rates.node:  # a link that carries nothing else
            begins_ns = queue_by_time(replies_ns, takes_ns)[0][-1]
        left_ns = begins_ns + self._takes.reply_ns
        report_copies = self._nodes if self._network.rates.node else 1
        numbers = len(replies_ns) - 1 + reports_before(begins_ns - report_copies * self._report_ns)
        arrives_ns = np.sort(left_ns + self._network.latencies.to_client(numbers))
        if self._network.rates.node:
            arrives_ns += waiting_ns(arrives_ns[None, :], takes_ns[:1], self._network)[0]
        return arrives_ns


def _latest(times_ns: Times) -> float:
    return float(np.max(times_ns, where=np.isfinite(times_ns), initial=0.0))


def reached(arrives_ns: Times, own_ns: Times, count: int) -> tuple[Times, Times]:
    """When each node (row) has so many votes, its own included; and when it has so many of others. Sorts the rows."""
    if count == 0:
        nothing_ns = np.full(len(arrives_ns), -np.inf)
        return nothing_ns, nothing_ns
    arrives_ns.partition(count - 1, axis=1)
    others_ns = arrives_ns[:, count - 1]
    one_less_ns = np.max(arrives_ns[:, : count - 1], axis=1, initial=-np.inf)
    return np.minimum(np.maximum(own_ns, one_less_ns), others_ns), others_ns
