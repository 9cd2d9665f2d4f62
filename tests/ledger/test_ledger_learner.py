"""A learner's target is durable, and nothing but a higher one ever replaces it."""

from __future__ import annotations

from collections.abc import Callable

from ledger_chain import make_genesis

from potchain.consensus.learning import LearnerTarget
from potchain.ledger.database import Database
from potchain.ledger.schema import Role
from potchain.ledger.votes import VoteLog, VoteMarks

GENESIS_HASH = make_genesis().hash


def found(database: Database) -> VoteMarks:
    return VoteLog(database, GENESIS_HASH).load(beside_blocks=True).marks


def test_a_log_that_begins_beside_blocks_is_in_doubt_until_the_target_is_known(
    open_role: Callable[[Role], Database],
) -> None:
    database = open_role("votes")
    log = VoteLog(database, GENESIS_HASH)
    assert log.load(beside_blocks=True).marks.doubtful
    assert found(database).doubtful  # a second start does not take the doubt away
    log.append(learner=LearnerTarget(140, 2, 3))
    assert not found(database).doubtful
    assert found(database).target == LearnerTarget(140, 2, 3)
    log.truncate(150)
    assert found(database).target == LearnerTarget(140, 2, 3)


def test_a_log_of_a_fresh_network_is_not_in_doubt(open_role: Callable[[Role], Database]) -> None:
    marks = VoteLog(open_role("votes"), GENESIS_HASH).load(beside_blocks=False).marks
    assert marks == VoteMarks()
    assert marks.target.reached(0, 0, 0)
