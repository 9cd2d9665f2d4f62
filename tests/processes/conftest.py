"""Everything here starts real node processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_network import LiveNetwork, live_network


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "processes" in item.path.parts:
            item.add_marker(pytest.mark.processes)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveNetwork]:
    """Four validators, running."""
    with live_network(tmp_path / "net") as network:
        network.start()
        yield network


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[LiveNetwork]:
    """Four validators, not started."""
    with live_network(tmp_path / "net") as network:
        yield network
