"""Sweep files: what they ask for, in which order, and what is wrong with them, before anything runs."""

import re
from pathlib import Path

import pytest

from potchain.errors import ConfigError, ExperimentError
from potchain.experiment.grid import parse_seeds, parse_sweep, read_sweep
from potchain.experiment.point import Point


def points_of(text: str) -> tuple[Point, ...]:
    return parse_sweep(text, "s.toml").points


def test_a_grid_is_every_combination_with_every_seed() -> None:
    points = points_of("""
        seeds = "1-3"
        [fixed]
        transactions = 500
        [grid]
        bandwidth_mbps = [25, 0.1]
        nodes = [10, 4]
    """)
    assert len(points) == 2 * 2 * 3
    assert points[0] == Point(nodes=4, transactions=500, bandwidth_mbps=0.1, seed=1)
    assert [(p.nodes, p.bandwidth_mbps, p.seed) for p in points] == sorted(
        (nodes, mbps, seed) for nodes in (4, 10) for mbps in (0.1, 25.0) for seed in (1, 2, 3)
    )


def test_the_order_of_the_file_does_not_matter() -> None:
    one = points_of("seeds=[2, 1]\n[grid]\nnodes=[4, 7]\nloss=[0, 0.05]")
    other = points_of('seeds="1-2"\n[grid]\nloss=[0.05, 0]\nnodes=[7, 4, 7]')
    assert one == other


def test_series_are_the_same_set_with_some_fields_changed() -> None:
    points = points_of("""
        seeds = 7
        [fixed]
        latency_ms = 50
        [grid]
        nodes = [4, 10]
        [[series]]
        crashed = "f"
        [[series]]
        loss = 0.05
        nodes = 4
        seeds = "1-2"
        [[series]]
        nodes = 10
    """)
    shown = [(p.nodes, p.crashed, p.loss, p.seed, p.latency_ms) for p in points]
    assert sorted(shown) == [
        (4, 0, 0.0, 7, 50.0), (4, 0, 0.05, 1, 50.0), (4, 0, 0.05, 2, 50.0), (4, 1, 0.0, 7, 50.0),
        (10, 0, 0.0, 7, 50.0), (10, 3, 0.0, 7, 50.0),
    ]  # fmt: skip


def test_series_alone_measure_only_these() -> None:
    assert [p.nodes for p in points_of("[fixed]\nloss=0.1\n[[series]]\nnodes=7\n[[series]]\nnodes=5")] == [5, 7]


def test_an_empty_file_is_the_default_point() -> None:
    assert points_of("") == (Point(),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[grid]\nnode=[4]", "[grid] has no key 'node' (did you mean 'nodes'?)"),
        ("[fixed]\nbandwith_mbps=1", "did you mean 'bandwidth_mbps'?"),
        ("[[series]]\ncrash=1", "[[series]] 1 has no key 'crash' (did you mean 'crashed'?)"),
        ("[grids]\nnodes=[4]", "no key 'grids' (did you mean 'grid'?)"),
        ("[fixed]\nseed=1", 'write seeds = "1-20" at the top'),
        ("[fixed]\nnodes=4\n[grid]\nnodes=[4]", "nodes stands in [fixed] and in [grid]"),
        ("[grid]\nnodes=[]", "nodes has no values"),
        ("seeds=[]", "seeds is empty"),
        ('seeds="5-1"', "write numbers and ranges"),
        ('[[series]]\nseeds="x"\nloss=0.1', "[[series]] 1 seeds is 'x'"),
        ("[[series]]\nseeds=1.5", "[[series]] 1 seeds: Expected"),
        ('seeds="0-99999999999999"', "more than 100,000 seeds"),
        ("[grid]\nnodes=4", "nodes is 4; write a list, or put it into [fixed]"),
        ('[fixed]\nnodes="many"', "Expected `int`, got `str`"),
        ('[fixed]\ncrashed="g"', "[grid].crashed is 'g'; write a number, or \"f\" for as many as n tolerates"),
        ('[fixed]\nmode="quick"', "Invalid enum value 'quick'"),
        ("[", "is not TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        points_of(text)
    assert words in str(caught.value)
    assert "s.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[grid]\nnodes=[4, 301]", "nodes is 301; mode 'virtual' takes from 1 to 300"),
        ('[fixed]\nmode="live"\nnodes=101', "mode 'live' takes from 1 to 100"),
        ('[fixed]\nmode="model"\nnodes=3001', "mode 'model' takes from 1 to 3000"),
        ("[grid]\nnodes=[4, 7]\ncrashed=[2]", "crashed is 2; it must be from 0 to 1 (at nodes = 4"),
        ("[fixed]\nloss=nan", "loss is nan"),
        ("[fixed]\nbandwidth_mbps=-1", "bandwidth_mbps is -1"),
        ("[fixed]\nlatency_ms=inf", "latency_ms is inf"),
        ('[fixed]\nnodes=0\n[[series]]\ncrashed="f"', "nodes is 0"),
        ("[fixed]\ntransactions=1000000\n[grid]\ntransaction_bytes=[60000]", "together 60,000,000,000 bytes"),
        ('[fixed]\nmode="model"\nloss=0.1', "mode 'model' knows neither loss"),
        ('seeds="1-1001"\n[grid]\nnodes=[' + "4," * 100 + "]", "100,100 points; at most 100,000"),
    ],
)
def test_points_that_are_not_possible_are_refused(text: str, words: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        points_of(text)
    assert words in str(caught.value)


def test_seeds_are_numbers_and_ranges() -> None:
    assert parse_seeds("1-3, 8,2", "seeds") == (1, 2, 3, 8)
    assert parse_seeds(5, "seeds") == (5,)
    assert parse_seeds([3, 1, 3], "seeds") == (3, 1)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        read_sweep(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml"):
        read_sweep(tmp_path / "binary.toml")
    (tmp_path / "large.toml").write_text("#" * 1_000_001)
    with pytest.raises(ConfigError, match=r"large\.toml is larger"):
        read_sweep(tmp_path / "large.toml")


def test_the_sweep_files_of_the_documentation_can_be_run() -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "how-to" / "experiments.md"
    blocks = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        assert points_of(block)


def test_the_sweeps_that_are_committed_can_be_run() -> None:
    files = sorted((Path(__file__).parent.parent.parent / "bench" / "sweeps").glob("*.toml"))
    assert files
    for file in files:
        assert read_sweep(file).points
