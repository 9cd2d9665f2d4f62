"""Tests that start processes of their own run one at a time, whatever runs beside them."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One group for pytest-xdist: two networks of four nodes at once would take each other's ports and time."""
    for item in items:
        if item.get_closest_marker("processes") is not None:
            item.add_marker(pytest.mark.xdist_group("processes"))
