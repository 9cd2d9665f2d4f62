"""When every node has the bodies and the pre-prepares.

The client's frames reach the nodes that they are for; those pass bodies on as they come. Each sender is solved at once,
as a queue (`pipes`), with the votes of an earlier pass going ahead of its bodies. What depends on a later moment of the
same run is taken from the pass before: the votes, how long a frame waits for its receiver's downlink, and when a node
that has enough shares can make its own.
"""

from __future__ import annotations

import msgspec
import numpy as np

from potchain.dissemination import children
from potchain.experiment.arrivals.downlinks import Arrivals, Downlinks
from potchain.experiment.arrivals.latencies import CLIENT, Numbers, Times
from potchain.experiment.arrivals.network import PRIMARY, Network, Votes
from potchain.experiment.arrivals.pipes import Mask
from potchain.experiment.arrivals.proposals import Proposals, propose
from potchain.experiment.arrivals.senders import Bulk, Sender
from potchain.experiment.arrivals.traffic import Traffic
from potchain.primitives import NS_PER_S
from potchain.sim.verification import CHECK_S

CHECK_NS = float(round(CHECK_S * NS_PER_S))
"""What a node of mode "virtual" takes to check a frame of transactions."""


class Sending(msgspec.Struct, frozen=True):
    """Bulk frames that one node sent."""

    bulk: Bulk
    copies: int
    """Of bodies, over all links."""
    bytes: int
    """Of all copies of bodies."""
    first_ns: float
    """When it had the first body; infinity: it sent none."""


class Spread(msgspec.Struct, frozen=True):
    """When what is where."""

    proposals: Proposals
    accepted_ns: Times
    """[block, node]: it has the pre-prepare and all bodies."""
    pre_prepared_ns: Times
    """[block, node]."""
    bodies_ns: Times
    """[body, node]."""
    submitted_ns: float
    """The client's last frame has arrived."""
    sent: dict[int, Sending]
    """By node that sent anything but votes."""
    arrivals: Arrivals
    """Before they wait at downlinks."""

    def same(self, other: Spread) -> bool:
        """Whether votes that follow from the one follow from the other."""
        return (
            self.accepted_ns.shape == other.accepted_ns.shape
            and np.array_equal(self.accepted_ns, other.accepted_ns)
            and self.sent.keys() == other.sent.keys()
            and all(np.array_equal(own.bulk.left_ns, other.sent[node].bulk.left_ns) for node, own in self.sent.items())
        )


class Spreading:
    """All of it for one run."""

    def __init__(self, traffic: Traffic, network: Network, downlinks: Downlinks) -> None:
        self._traffic = traffic
        self._downlinks = downlinks
        self._network = network
        self._nodes = network.up
        bodies = traffic.bodies
        submissions = [body.submission for body in bodies]
        self._sizes_ns = np.array([network.rates.one_ns(body.size_bytes) for body in bodies])
        self._sizes = np.array([body.size_bytes for body in bodies])
        self._entry = np.array([traffic.submissions[each].entries[0] for each in submissions])
        self._of_submission: list[list[int]] = [[] for _ in traffic.submissions]
        self._of_unit: list[list[int]] = [[] for _ in traffic.units]
        for place, body in enumerate(bodies):
            self._of_submission[body.submission].append(place)
            self._of_unit[body.unit].append(place)
        self._made_ns = np.full(len(bodies), np.inf)
        """When the node that passes a body on could make it itself, in the pass before."""

    def run(self, votes: Votes | None) -> Spread:
        """One pass."""
        arrived_ns = self._submit()
        submitted_ns = float(np.max(arrived_ns, where=np.isfinite(arrived_ns), initial=0.0))
        sent: dict[int, Sending] = {}
        # A root is served by the client alone; elsewhere the primary needs what the others pass on.
        others = self._relays()
        root_first = self._traffic.relay == "tree"
        if not root_first:
            for node in others:
                self._pass_on(node, arrived_ns, votes, sent)
        at_primary_ns = (arrived_ns + self._downlinks.bodies_ns)[:, PRIMARY : PRIMARY + 1] + CHECK_NS
        decided_ns = None if votes is None else votes.decided_ns
        proposals = propose(self._units_at(at_primary_ns)[:, 0], self._traffic, decided_ns)
        pre_prepares_ns = self._lead(proposals, arrived_ns, votes, sent)
        if root_first:
            for node in others:
                self._pass_on(node, arrived_ns, votes, sent)
        bodies_ns = arrived_ns + self._downlinks.bodies_ns + CHECK_NS
        has_ns = self._units_at(bodies_ns)
        accepted_ns = np.array([np.max(has_ns[list(units)], axis=0) for units in proposals.units])
        pre_prepared_ns = pre_prepares_ns + self._downlinks.pre_prepares(len(pre_prepares_ns))
        accepted_ns = np.maximum(accepted_ns, pre_prepared_ns)
        accepted_ns[:, PRIMARY] = proposals.proposed_ns
        self._learn(has_ns)
        arrivals = Arrivals(arrived_ns, pre_prepares_ns, tuple(self._lead_takes_ns(proposals).tolist()))
        return Spread(proposals, accepted_ns, pre_prepared_ns, bodies_ns, submitted_ns, sent, arrivals)

    def _units_at(self, bodies_ns: Times) -> Times:
        """[unit, node]: when a node has what a unit brings."""
        return np.array([
            np.partition(bodies_ns[places], unit.enough - 1, axis=0)[unit.enough - 1]
            for unit, places in zip(self._traffic.units, self._of_unit, strict=True)
        ])  # fmt: skip

    def _learn(self, has_ns: Times) -> None:
        """Keep for the next pass what this one could not know in time."""
        if any(unit.enough < len(places) for unit, places in zip(self._traffic.units, self._of_unit, strict=True)):
            units = np.array([body.unit for body in self._traffic.bodies])
            self._made_ns = has_ns[units, self._entry]

    # --- the client ---------------------------------------------------------------------------------------------------

    def _submit(self) -> Times:
        """[body, node]: when the client's frames arrive where they are for."""
        rates, latencies = self._network.rates, self._network.latencies
        arrived_ns = np.full((len(self._sizes), self._nodes), np.inf)
        left_ns = np.zeros(self._nodes)
        frames = np.zeros(self._nodes, dtype=np.int64)
        uplink_ns = 0.0
        for number, (submission, places) in enumerate(
            zip(self._traffic.submissions, self._of_submission, strict=True)
        ):
            takes_ns = rates.one_ns(submission.size_bytes)
            nodes = np.array(submission.entries)
            if rates.node:
                ends_ns = uplink_ns + takes_ns * np.arange(1, len(nodes) + 1)
                uplink_ns = float(ends_ns[-1])
            else:
                left_ns[nodes] += takes_ns
                ends_ns = left_ns[nodes]
            latency_ns = latencies.from_one(CLIENT, submission.entries, frames[nodes], number)
            arrived_ns[np.ix_(np.array(places), nodes)] = ends_ns + latency_ns
            frames[nodes] += 1
        return arrived_ns

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _relays(self) -> list[int]:
        """Nodes but the primary that may pass bodies on."""
        if self._traffic.relay == "all":
            return [node for node in np.unique(self._entry).tolist() if node != PRIMARY]
        return list(range(1, self._nodes)) if self._traffic.relay == "tree" else []

    def _receivers(self, node: int) -> tuple[int, ...]:
        """To whom a node passes bodies on."""
        if self._traffic.relay == "tree":
            below = children(self._network.members, self._traffic.fan_out, PRIMARY, node)
            return tuple(each for each in below if each < self._nodes)
        return (*range(node), *range(node + 1, self._nodes))

    def _passes(self, node: int, arrived_ns: Times) -> tuple[Numbers, Times]:
        """The bodies that a node passes on, in the order in which it has them, and when."""
        if self._traffic.relay == "none":
            return np.empty(0, dtype=np.int64), np.empty(0)
        at_ns = arrived_ns[:, node] + self._downlinks.bodies_ns[:, node] + CHECK_NS
        if self._traffic.relay == "all":
            at_ns = np.where(self._entry == node, np.minimum(at_ns, self._made_ns), np.inf)
        order = np.argsort(at_ns, kind="stable")
        order = order[np.isfinite(at_ns[order])]
        return order, at_ns[order]

    def _sender(self, node: int, votes: Votes | None) -> Sender:
        if votes is None:
            return Sender(self._network, node, np.empty(0), np.empty(0))
        return Sender(self._network, node, *votes.of(node))

    def _goes(self, frames: int, receivers: tuple[int, ...]) -> Mask:
        goes = np.zeros((frames, self._nodes), dtype=bool)
        goes[:, list(receivers)] = True
        return goes

    def _pass_on(self, node: int, arrived_ns: Times, votes: Votes | None, sent: dict[int, Sending]) -> None:
        places, at_ns = self._passes(node, arrived_ns)
        receivers = self._receivers(node)
        if len(places) and receivers:
            goes = self._goes(len(places), receivers)
            bulk = self._sender(node, votes).bulk(at_ns, self._sizes_ns[places], goes)
            self._deliver(node, receivers, places, bulk, arrived_ns)
            sent[node] = self._sending(bulk, places, receivers, at_ns)

    def _sending(self, bulk: Bulk, places: Numbers, receivers: tuple[int, ...], at_ns: Times) -> Sending:
        copies = len(places) * len(receivers)
        size = int(self._sizes[places].sum()) * len(receivers)
        if not self._network.latencies.exact:  # only the numbers of votes would need it
            bulk = Bulk(np.min(bulk.left_ns, axis=1, keepdims=True), None, 0)
        return Sending(bulk, copies, size, float(at_ns.min(initial=np.inf)))

    def _deliver(
        self, node: int, receivers: tuple[int, ...], places: Numbers, bulk: Bulk, arrived_ns: Times
    ) -> None:
        columns = list(receivers)
        for frame, place in enumerate(places.tolist()):
            latency_ns = self._latency(node, receivers, bulk, frame, place)
            arrives_ns = bulk.left_ns[frame, columns] + latency_ns
            arrived_ns[place, columns] = np.minimum(arrived_ns[place, columns], arrives_ns)

    def _latency(self, node: int, receivers: tuple[int, ...], bulk: Bulk, frame: int, place: int) -> Times:
        numbers = None if bulk.numbers is None else bulk.numbers[frame, list(receivers)]
        return self._network.latencies.from_one(node, receivers, numbers, place)

    # --- the primary --------------------------------------------------------------------------------------------------

    def _lead(self, proposals: Proposals, arrived_ns: Times, votes: Votes | None, sent: dict[int, Sending]) -> Times:
        """The primary passes bodies on and sends its pre-prepares: when those arrive, [block, node]."""
        everybody = tuple(range(1, self._nodes))
        proposed_ns = proposals.proposed_ns
        pre_prepared_ns = np.full((len(proposed_ns), self._nodes), np.inf)
        pre_prepared_ns[:, PRIMARY] = proposed_ns
        if not everybody:
            return pre_prepared_ns
        one_ns = self._lead_takes_ns(proposals)
        urgent = np.array([first for _, first in proposals.sizes])
        sender = self._leader(np.where(urgent, proposed_ns, np.inf), one_ns, votes)
        places, at_ns = self._passes(PRIMARY, arrived_ns)
        receivers = self._receivers(PRIMARY)
        late = np.flatnonzero(~urgent)  # those that queue with the bodies
        bulk = sender.bulk(
            np.concatenate([at_ns, proposed_ns[late]]),
            np.concatenate([self._sizes_ns[places], one_ns[late]]),
            np.concatenate([self._goes(len(places), receivers), self._goes(len(late), everybody)]),
        )
        self._deliver(PRIMARY, receivers, places, bulk, arrived_ns)
        sent[PRIMARY] = self._sending(bulk, places, receivers, at_ns)
        for block in range(len(proposed_ns)):
            identity = len(self._sizes) + block
            if urgent[block]:
                numbers = sender.vote_numbers(block, bulk)[1:] if self._network.latencies.exact else None
                latency_ns = self._network.latencies.from_one(PRIMARY, everybody, numbers, identity)
                pre_prepared_ns[block, 1:] = sender.votes_left_ns[block, 1:] + latency_ns
            else:
                frame = len(places) + int(np.searchsorted(late, block))
                latency_ns = self._latency(PRIMARY, everybody, bulk, frame, identity)
                pre_prepared_ns[block, 1:] = bulk.left_ns[frame, 1:] + latency_ns
        return pre_prepared_ns

    def _leader(self, offered_ns: Times, one_ns: Times, votes: Votes | None) -> Sender:
        """The primary: its urgent pre-prepares are the first of its votes."""
        if votes is not None:
            more_offered_ns, more_ns = votes.of(PRIMARY)
            offered_ns, one_ns = np.concatenate([offered_ns, more_offered_ns]), np.concatenate([one_ns, more_ns])
        return Sender(self._network, PRIMARY, offered_ns, one_ns)

    def _lead_takes_ns(self, proposals: Proposals) -> Times:
        return np.array([self._network.rates.one_ns(size) for size, _ in proposals.sizes])
