"""The version of this distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def distribution_version() -> str:
    """As installed; "unknown" when the source is run without being installed."""
    try:
        return version("potchain")
    except PackageNotFoundError:
        return "unknown"
