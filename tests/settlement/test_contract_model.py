"""PotSettlement, as it is committed, against its model: the same refusals, events, views and money after every step.

More than the committed seeds: `python tests/settlement_walk.py --seeds 1-5000 --steps 400`.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from settlement_evm import Interface
from settlement_signing import INJURIES
from settlement_solc import artifact
from settlement_walk import SEEDS, STEPS, missing, walk

HITS_MIN = 8
"""What is hit less often is not tested."""
GROUPS = 4

FUNCTIONS = (
    "claim(address,uint256,bytes32[])", "commitRoot(uint256,bytes32,uint256,bytes)", "confirmTransaction(uint256)",
    "deposit(address)", "depositToken(address,uint256)", "executeBatch(uint256,address[],uint256[],bytes)",
    "executeTransaction(uint256)", "pauseByOwner()", "proposeTransaction(address,uint256)",
    "rotateOwners(uint256,address[],uint256,bytes)", "setPaused(uint256,bool,bytes)", "withdraw()", "withdraw(uint256)",
)  # fmt: skip

UNREACHABLE = {
    "InsufficientBalance": "the contract always has what it owes; the walk checks just that",
    "OwnerSetNotCreated": "a set of owners is always small enough to be written",
    "TooManyRotations": "test_contract_edges sets the counter to its end",
}
"""Errors of the libraries that no call can cause, and why."""


@cache
def hits(group: int) -> Counter[str]:
    """What a quarter of the seeds comes across."""
    counted: Counter[str] = Counter()
    for seed in SEEDS[group::GROUPS]:
        walk(seed, STEPS, counted)
    return counted


@pytest.mark.parametrize("group", range(GROUPS))
def test_contract_and_model_agree_at_every_step(group: int) -> None:
    assert hits(group)["deploy"] == len(SEEDS[group::GROUPS])


def test_the_walks_have_been_everywhere() -> None:
    counted = sum((hits(group) for group in range(GROUPS)), Counter())
    interface = Interface(artifact("PotSettlement")["abi"])
    assert interface.error_names >= UNREACHABLE.keys()
    wanted = [f"done {signature}" for signature in FUNCTIONS]
    wanted += [f"refused {signature.partition('(')[0]}" for signature in FUNCTIONS]
    wanted += [f"error {name}" for name in interface.error_names - UNREACHABLE.keys()]
    wanted += [f"signatures {name}" for name in INJURIES]
    assert missing(counted, wanted, HITS_MIN) == {}


def test_every_function_that_changes_something_is_walked() -> None:
    changing = {
        f"{entry['name']}({','.join(each['type'] for each in entry['inputs'])})"
        for entry in artifact("PotSettlement")["abi"]
        if entry["type"] == "function" and entry["stateMutability"] in ("nonpayable", "payable")
    }
    assert changing == set(FUNCTIONS)


def test_a_seed_is_a_walk() -> None:
    first: Counter[str] = Counter()
    second: Counter[str] = Counter()
    walk(SEEDS[0], STEPS, first)
    walk(SEEDS[0], STEPS, second)
    assert first == second
