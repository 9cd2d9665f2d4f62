"""The network conditions that this node emulates: which are in force, since when, and who may change them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import structlog

from potchain.api.ports import LinkStatus
from potchain.config.links import profile_of
from potchain.driver.clock import Clock
from potchain.errors import LinkError
from potchain.links import OFF, LinkProfile, LinkSpec
from potchain.primitives import NS_PER_S
from potchain.transport import Transport

log = structlog.get_logger("links")


class LinkControl:
    """Says what is in force, and hands other conditions to the transport where the operator has allowed it."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        names: Callable[[], Collection[str]],
        *,
        profile: LinkProfile = OFF,
        source: str = "none",
        allowed: bool = False,
    ) -> None:
        """`profile` is in force from now on, from `source`; `names` gives those of all nodes that are known now."""
        self._transport = transport
        self._clock = clock
        self._names = names
        self._profile = profile
        self._source = source
        self._allowed = allowed
        self._since = clock.now()

    def status(self) -> LinkStatus:
        """What is in force."""
        elapsed_ns = self._clock.now().monotonic_ns - self._since.monotonic_ns
        return LinkStatus(
            profile=self._profile,
            source=self._source,
            since_ms=self._since.unix_ms,
            phase=self._profile.phase_at(elapsed_ns),
            control=self._allowed,
        )

    async def set(self, spec: LinkSpec) -> LinkStatus:
        """Emulate these from now on. Raises LinkError for what makes no sense, or without leave."""
        if not self._allowed:
            raise LinkError("this node takes no conditions: its operator has not set links.control = true")
        # On a thread, because a table of regions makes a million pairs of a thousand nodes.
        profile = await asyncio.to_thread(profile_of, spec, None, self._names())
        self._transport.set_links(profile)
        self._profile, self._source, self._since = profile, "api", self._clock.now()
        report_links(profile, "api")
        return self.status()


def report_links(profile: LinkProfile, source: str) -> None:
    """One line in the log. A warning where links are shaped: a real network must not run so unknowingly."""
    if profile.off:
        log.info("links are not shaped", source=source)
        return
    general = profile.conditions(0, "", "")
    log.warning(
        "links are shaped: this node emulates a slower network than it has",
        source=source,
        bandwidth_bits_per_s=general.bandwidth_bits_per_s or profile.phases[0].up_bits_per_s,
        latency_ms=general.latency_ns * 1_000 // NS_PER_S,
        loss_ppm=general.loss_ppm,
        rules=sum(len(phase.rules) for phase in profile.phases),
        phases=len(profile.phases),
    )
