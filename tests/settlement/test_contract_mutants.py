"""The wrong contracts of `contract_mutants`: they fit the sources, and the page that lists them is complete.

That each is noticed is for `make contracts` to show, because it needs the compiler: python tests/contract_mutants.py.
"""

from __future__ import annotations

import pytest
from contract_mutants import HEAD, MUTANTS, PAGE, Mutant, sources
from settlement_solc import CONTRACTS, unit_name, with_imports

MUTANTS_MIN = 40


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_differs_in_one_place(mutant: Mutant) -> None:
    changed = [
        unit for unit, text in sources(mutant).items()
        if text != (CONTRACTS / "src" / unit).read_text(encoding="utf-8")
    ]  # fmt: skip
    assert changed == [mutant.unit]


def test_mutants_are_many_and_different() -> None:
    assert len(MUTANTS) >= MUTANTS_MIN
    assert len({mutant.name for mutant in MUTANTS}) == len({mutant.changes for mutant in MUTANTS}) == len(MUTANTS)


def test_all_sources_of_the_contract_are_mutated_together() -> None:
    name = "src/PotSettlement.sol"
    used = with_imports({name: (CONTRACTS / name).read_text(encoding="utf-8")})
    ours = {unit.removeprefix("src/") for unit in used if unit.startswith("src/")}
    assert ours == sources(MUTANTS[0]).keys()
    assert unit_name("a/b/c.sol", "../d.sol") == "a/d.sol"


def test_the_page_lists_every_mutant_and_none_survives() -> None:
    text = PAGE.read_text(encoding="utf-8")
    _, found, table = text.partition("\n".join(HEAD))
    rows = table.partition("\n\n")[0].strip().splitlines()
    assert found
    listed = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows]
    assert [row[:2] for row in listed] == [(mutant.name, mutant.wrong) for mutant in MUTANTS]
    assert all(row[2].replace(",", "").isdigit() for row in listed)
