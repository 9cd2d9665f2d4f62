"""The option of the golden traces: `pytest tests/pbft --rewrite-traces` writes them anew.

Read the difference, and commit it only if you can explain it.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-traces", action="store_true", help="write tests/traces/pbft/*.trace anew")


@pytest.fixture
def rewrites_traces(request: pytest.FixtureRequest) -> bool:
    """False as well when pytest was started above this folder, where the option is not known."""
    return bool(request.config.getoption("rewrite_traces", default=False))
