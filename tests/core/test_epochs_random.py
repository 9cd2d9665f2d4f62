"""Epochs under everything at once: random changes of validators and parameters, loss, crashes, disks that stand still.

The seeds here are few; what matters is that the run can be repeated with many. At most one node is down at a time, and
one in three or more may be too many for the set of the moment: then nothing moves until all is well again, and that is
all that is asked: afterwards everybody is level, nobody has signed twice or blamed anybody, and no work is left.
"""

from __future__ import annotations

import random

import pytest
from core_network import make_validators
from epoch_application import EpochApplication, change
from replica_cluster import Cluster

from potchain.application.accounts import AccountsApplication
from potchain.replica.actions import Blame, Evidence, Halt

NODES = 6
STEPS = 30
PARAMETERS: tuple[dict[str, int], ...] = (
    {"checkpoint_interval": 3, "log_window": 9},
    {"checkpoint_interval": 5, "log_window": 10},
    {"checkpoint_interval": 4, "log_window": 8},
    {"batch_max": 2},
)


class Run:
    """One cluster of four validators and two that may become some, and what befalls it."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        applications = (AccountsApplication(), EpochApplication(make_validators([f"v{n}" for n in range(NODES)])))
        self.cluster = Cluster(
            4,
            outsiders=NODES - 4,
            applications=applications,
            checkpoint_interval=4,
            log_window=8,
            view_timeout_ms=500,
            view_timeout_cap_ms=2_000,
        )
        loss = self.draw.choice([0, 0.05, 0.2])
        self.cluster.passes = lambda sender, to, frame: self.draw.random() >= loss
        self.nonces = {"alice": 0, "bob": 0}
        self.down: int | None = None

    def step(self) -> None:
        """One thing happens, and some time passes."""
        cluster, draw = self.cluster, self.draw
        at = draw.choice([index for index, node in enumerate(cluster.nodes) if node.up])
        match draw.randrange(8):
            case 0 | 1 | 2:
                cluster.submit(at, cluster.transfer("bob", self._nonce("bob")))
            case 3:
                members = draw.choice([[], draw.sample([f"v{n}" for n in range(NODES)], draw.randint(3, NODES))])
                parameters = draw.choice([*PARAMETERS, {}])
                cluster.submit(at, change(cluster.types, "alice", self._nonce("alice"), members, parameters))
            case 4 | 5 if self.down is None:
                self.down = draw.randrange(NODES)
                cluster.crash(self.down)
            case 4 | 5:
                self._restart()
            case 6:
                cluster.nodes[at].disk_works = not cluster.nodes[at].disk_works
        cluster.advance(draw.choice([5, 50, 300, 1_200]))

    def end(self) -> None:
        """All is well again."""
        for node in self.cluster.nodes:
            node.disk_works = True
        self._restart()
        self.cluster.heal()
        self.cluster.advance(40_000)

    def _nonce(self, sender: str) -> int:
        self.nonces[sender] += 1
        return self.nonces[sender] - 1

    def _restart(self) -> None:
        if self.down is not None:
            self.cluster.start(self.down)
            self.down = None


@pytest.mark.parametrize("seed", range(12))
def test_epochs_survive_everything_at_once(seed: int) -> None:
    run = Run(seed)
    for _ in range(STEPS):
        run.step()
    run.end()
    cluster = run.cluster
    assert len({node.replica.epoch.number for node in cluster.nodes}) == 1
    cluster.assert_agreement(max(node.certified for node in cluster.nodes))
    actions = [action for node in cluster.nodes for action in node.others]
    assert not [action for action in actions if isinstance(action, Blame | Evidence | Halt)]
    assert not any(node.replica.pool.proposable()[0] for node in cluster.nodes), "work is left"
    epochs = [block.header.epoch for block in cluster.nodes[0].disk.blocks]
    assert epochs == sorted(epochs)


def test_the_seeds_change_epochs() -> None:
    reached = []
    for seed in range(4):
        run = Run(seed)
        for _ in range(STEPS):
            run.step()
        reached.append(max(node.replica.epoch.number for node in run.cluster.nodes))
    assert max(reached) > 0, "the runs above have nothing to do with epochs"
