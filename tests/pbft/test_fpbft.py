"""FPBFT is PBFT plus a link profile: it has no message, no step and no engine of its own."""

from __future__ import annotations

import ast
import inspect

import msgspec
import pytest

import potchain_fpbft
import potchain_pbft
from potchain.codec import Canonical
from potchain.errors import LinkError
from potchain.links import OFF, LinkProfile
from potchain.registry import load_plugins
from potchain_fpbft import FpbftFactory, FpbftOptions

MS = 1_000_000


def profile(**options: object) -> LinkProfile:
    """What the engine's options make of links, found as a node finds it."""
    engine = load_plugins().engine("fpbft")
    return engine.link_profile(msgspec.convert(options, engine.options_type))


def test_the_plugin_defines_no_message_and_no_step() -> None:
    tree = ast.parse(inspect.getsource(potchain_fpbft))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    assert set(classes) == {"FpbftFactory", "FpbftOptions"}
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert defined == {"link_profile", "consensus_engines"}
    assert not any(isinstance(each, type) and issubclass(each, Canonical) for each in vars(potchain_fpbft).values())


def test_everything_else_is_pbfts() -> None:
    own = {name for name in vars(FpbftFactory) if not name.startswith("__")}
    assert own == {"name", "options_type", "link_profile"}
    assert issubclass(FpbftFactory, potchain_pbft.PbftFactory)
    assert FpbftFactory.wire_version == potchain_pbft.PbftFactory.wire_version
    more = set(FpbftOptions.__struct_fields__) - set(potchain_pbft.PbftOptions.__struct_fields__)
    assert more == {"bandwidth_bits_per_s", "bandwidth_model", "latency_ns", "distribution", "seed"}


def test_zero_is_plain_pbft() -> None:
    assert profile() is OFF
    assert profile(distribution="constant", seed=5) is OFF


def test_options_are_conditions_of_all_links() -> None:
    (phase,) = profile(bandwidth_bits_per_s=10_000, bandwidth_model="shared").phases
    assert (phase.up_bits_per_s, phase.down_bits_per_s) == (10_000, 10_000)
    found = profile(bandwidth_bits_per_s=10_000, latency_ns=30 * MS, seed=5)
    assert found.seed == 5
    assert found.conditions(0, "a", "b").latency_range_ns == (3 * MS, 30 * MS)
    assert found.rate_bits_per_s(0, "a", "b") == 10_000


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(LinkError, match="bandwidth_bits_per_s is 7"):
        profile(bandwidth_bits_per_s=7)
