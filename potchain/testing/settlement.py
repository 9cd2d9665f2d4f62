"""What every settlement back end must do for the settler, as test cases: `settlement_conformance(factory, scenario)`.

The kit knows nothing of the chain. It is given a *scenario* for each case: a fresh chain with a contract deployed on it
for given owners, and a hand on both (mine blocks, deposit, reorganise, cut the way there). It makes back ends with the
factory, calls them as the settler does, and holds every answer against `potchain.settlement.interface`, whatever the
case is about: no gap in events, no event above the confirmed block, payloads canonical, every fault one of FAULTS,
every call at its end in time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from potchain.crypto import SigningKey
from potchain.settlement import Contract, SettlementBackendFactory
from potchain.testing import settlement_relaying, settlement_watching
from potchain.testing.conformance import ConformanceCase
from potchain.testing.settlement_bench import OWNERS, THRESHOLD, Bench

T = TypeVar("T")


class SettlementScenario(Protocol):
    """A fresh chain with one contract, and a hand on both. It mines nothing by itself."""

    contract: Contract
    """As governance would bind it."""
    relay_keys: tuple[SigningKey, SigningKey]
    """Two accounts that can pay for gas."""

    def options(self, deadline_ms: int) -> msgspec.Struct:
        """What the factory is given, of its `options_type`: every call of the back end ends by `deadline_ms`."""
        ...

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, in the chain's time: real, or virtual."""
        ...

    def mine(self, blocks: int) -> None:
        """Make blocks; the first takes everything that waits and is worth its fee."""
        ...

    def deposit(self, account: bytes, amount: int) -> None:
        """Pay base units into the contract for an account, mined at once, with what waits."""
        ...

    def reorganise(self, blocks: int) -> None:
        """Put at least as many other blocks in place of the newest ones, whose transactions are forgotten."""
        ...

    def drop_waiting(self) -> None:
        """Every pool forgets what waits in it."""
        ...

    def credited(self, account: bytes) -> int:
        """Base units that the contract has ever credited to an account."""
        ...

    def empty(self, account: bytes) -> None:
        """Take away what the account pays gas with."""
        ...

    def cut(self) -> None:
        """From now on nothing that a back end asks is answered; best in silence, without an error."""
        ...

    def restore(self) -> None:
        """The end of a cut."""
        ...

    def close(self) -> None:
        """End the chain, cut or not."""
        ...


MakeScenario = Callable[[tuple[bytes, ...], int], SettlementScenario]
"""Given the owners, sorted by address, and the threshold of the contract to deploy."""

Check = Callable[[Bench], Coroutine[Any, Any, None]]


def settlement_conformance(
    factory: SettlementBackendFactory, scenario: MakeScenario, *, without: Collection[str] = ()
) -> Callable[[ConformanceCase], None]:
    """A test function for pytest with one case for each promise: `test_it = settlement_conformance(factory, scenario)`.

    `without`: names of cases that have no meaning for this chain, such as "an empty wallet is named".
    Raises ValueError for a name that no case has.
    """
    import pytest

    cases = list(settlement_cases(factory, scenario, without=without))

    @pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])
    def test_settlement_conformance(case: ConformanceCase) -> None:
        case.check()

    return test_settlement_conformance


def settlement_cases(
    factory: SettlementBackendFactory, scenario: MakeScenario, *, without: Collection[str] = ()
) -> Iterator[ConformanceCase]:
    """The cases, for other test runners."""
    checks = {**settlement_watching.CHECKS, **settlement_relaying.CHECKS}
    unknown = sorted(set(without) - set(checks))
    if unknown:
        raise ValueError(f"no case is called {unknown[0]!r}; there are: {'; '.join(checks)}")
    for name, check in checks.items():
        if name not in without:
            yield ConformanceCase(name, partial(_on_a_fresh_chain, check, factory, scenario))


def _on_a_fresh_chain(check: Check, factory: SettlementBackendFactory, scenario: MakeScenario) -> None:
    chain = scenario(tuple([key.address for key in OWNERS]), THRESHOLD)
    try:
        chain.run(check(Bench(factory, chain)))
    finally:
        chain.close()
