"""The driver: asyncio, threads and clocks around the pure replica."""

from potchain.driver.loop import Driver, Observer

__all__ = ["Driver", "Observer"]
