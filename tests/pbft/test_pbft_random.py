"""Random schedules of faults: agreement at every decision, progress once the faults end. Replay: pbft_random.py."""

from __future__ import annotations

import pytest
from pbft_random import fault_of

SEEDS = 300
PER_TEST = 20


@pytest.mark.parametrize("first", range(0, SEEDS, PER_TEST))
def test_seeds(first: int) -> None:
    faults = [fault for seed in range(first, first + PER_TEST) if (fault := fault_of(seed)) is not None]
    assert not faults, "\n".join(faults)
