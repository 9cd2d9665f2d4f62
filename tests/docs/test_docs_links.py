"""The page on slow networks: its examples are accepted, and mean what the text beside them says."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from potchain.config.links import profile_of
from potchain.links import LinkProfile, LinkSpec, decode_spec
from potchain.primitives import NS_PER_S
from potchain.registry import load_plugins
from potchain.tables import decode_table

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "links.md"
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
NODES = [f"node{number}" for number in range(4)]


def profile(block: str) -> LinkProfile:
    """Of an example: conditions of an engine, a table [links], or a file of its keys alone."""
    table: dict[str, Any] = tomllib.loads(block)
    if "consensus" in table:
        engine = load_plugins().engine(table["consensus"]["engine"])
        options = decode_table(table["consensus"][engine.name], engine.options_type, engine.name)
        found = engine.link_profile(options)
        assert found is not None
        return found
    return profile_of(decode_spec(table.get("links", table), LinkSpec, "links"), None, NODES)


def test_the_page_has_its_examples() -> None:
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_are_accepted(block: str) -> None:
    assert not profile(block).checked().off


def test_the_example_of_a_file_means_what_the_page_says() -> None:
    """Three regions, a bad line of node3, and everything worse after a minute."""
    (block,) = (block for block in BLOCKS if block.startswith("# conditions.toml"))
    found = profile(block)
    assert [phase.from_ns for phase in found.phases] == [0, 60 * NS_PER_S]
    near, far = found.conditions(0, "node2", "node3"), found.conditions(0, "node2", "node0")
    bad = found.conditions(0, "node3", "node1")
    assert (near.latency_ns, far.latency_ns) == (500_000, 180_000_000)
    assert (bad.bandwidth_bits_per_s, bad.loss_ppm, far.bandwidth_bits_per_s) == (2_000_000, 20_000, 100_000_000)
    later = found.conditions(1, "node2", "node0")
    assert (later.bandwidth_bits_per_s, later.distribution, later.jitter_ns) == (10_000_000, "jitter", 200_000)
    assert found.conditions(1, "node3", "node1").bandwidth_bits_per_s == 2_000_000
