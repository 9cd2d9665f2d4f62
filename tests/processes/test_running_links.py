"""An operator makes the links of running nodes slower than anybody waits, and fast again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from live_network import LiveNetwork

from potchain.cli.program import potchain


def set_links(live: LiveNetwork, *words: str) -> str:
    """`potchain links set` at every node."""
    everywhere = [word for url in live.urls for word in ("--node", url)]
    result = CliRunner().invoke(potchain, ["links", "set", *everywhere, *words])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def test_links_of_running_nodes_are_shaped_and_freed(
    idle: LiveNetwork, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POTCHAIN_LINKS_CONTROL", "true")
    monkeypatch.setenv("POTCHAIN_LINKS_LATENCY_MS", "1.5")
    idle.start()
    log = (idle.home(0) / "node.log").read_text(encoding="utf-8")
    assert "links are shaped" in log
    shown = idle.get(0, "/v1/links")
    assert (shown["source"], shown["conditions"]["latency_ms"]) == ("links", 1.5)
    idle.pay(0, 3)
    path = tmp_path / "far.toml"
    path.write_text(
        'region_matrix = "cloud"\nlatency_ms = 500_000\n[regions]\nnode0 = "uk-south"\n', encoding="utf-8"
    )
    assert "latency_ms  500000.0" in set_links(idle, "--file", str(path))
    stuck = idle.transfer()
    refusal = idle.refusal(0, stuck, wait="decided", timeout_s=1)
    assert refusal.code == "timeout"
    assert idle.get(0, "/v1/status")["pool"]["count"] == 1
    assert "links are not shaped" in set_links(idle, "--off")
    # What was on its way arrives at once, and the network goes on.
    idle.pay(1, 2, sender=1)
    idle.pay(0, 1)
    assert idle.get(0, "/v1/status")["pool"]["count"] == 0
    assert idle.get(2, "/v1/links")["off"] is True


def test_a_node_refuses_to_start_with_conditions_that_make_no_sense(idle: LiveNetwork) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "potchain", "start", "--home", str(idle.home(0))],
        env={**os.environ, "POTCHAIN_LINKS_RULES": '[{from = "nod1", loss = 0.5}]'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "'nod1', neither a node nor a region in use (did you mean 'node1'?)" in ended.stderr
