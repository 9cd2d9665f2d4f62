"""The driver: asyncio, threads and clocks around the pure replica."""

from potchain.driver.loop import Driver
from potchain.driver.observer import Observer

__all__ = ["Driver", "Observer"]
