"""Answers to peers that are behind: blocks and certificates from the ledger, read on threads.

One answer of each kind for each peer is under way at a time; more of the same is dropped, and asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from potchain.blocks import BlockCertificate, SyncBlock
from potchain.errors import LedgerError
from potchain.primitives import NodeId
from potchain.replica import wire
from potchain.replica.actions import ServeBlocks, ServeCertificates

SYNC_ANSWER_BYTES_MAX = 2 * 1024 * 1024
"""Bound on one answer of blocks to a peer that is behind."""


class BlockSource(Protocol):
    """Where decided blocks are read, on threads: the ledger. Raises LedgerError."""

    def sync_blocks(self, from_height: int, count_max: int, bytes_max: int) -> list[SyncBlock]:
        """Consecutive blocks from a height on; one at least, if it exists, whatever its size."""
        ...

    def certificate(self, height: int) -> BlockCertificate | None:
        """The block certificate of a height; None while it is not here."""
        ...


class Serving:
    """Serves one node's peers."""

    def __init__(
        self,
        reader: BlockSource,
        *,
        applied: Callable[[], int],
        send: Callable[[NodeId, wire.Frame], None],
        failed: Callable[[NodeId, LedgerError], None],
    ) -> None:
        """`applied` is the highest durable block; `failed` is told that a peer got no answer, and why."""
        self._reader = reader
        self._applied = applied
        self._send = send
        self._failed = failed
        self._under_way: set[tuple[NodeId, str]] = set()

    async def blocks(self, ask: ServeBlocks) -> None:
        """Answer `FetchBlocks`; nothing to send is no answer."""
        place = (ask.to, "block" if ask.count == 1 else "blocks")
        if place in self._under_way:
            return
        self._under_way.add(place)
        try:
            # A height beyond the ledger's is a stranger's number: 64 bits of it do not even fit the database.
            first = min(max(1, ask.from_height), self._applied() + 1)
            blocks = await asyncio.to_thread(self._reader.sync_blocks, first, ask.count, SYNC_ANSWER_BYTES_MAX)
        except LedgerError as failure:
            self._failed(ask.to, failure)
        else:
            if blocks:
                self._send(ask.to, wire.BlocksAnswer(tuple(blocks)))
        finally:
            self._under_way.discard(place)

    async def certificates(self, ask: ServeCertificates) -> None:
        """Answer `FetchCertificates` with those that are here."""
        place = (ask.to, "certificates")
        if place in self._under_way:
            return
        self._under_way.add(place)
        heights = range(max(1, ask.from_height), min(ask.from_height + ask.count, self._applied() + 1))
        try:
            found = await asyncio.to_thread(lambda: [self._reader.certificate(height) for height in heights])
        except LedgerError as failure:
            self._failed(ask.to, failure)
            return
        finally:
            self._under_way.discard(place)
        certificates = tuple(certificate for certificate in found if certificate is not None)
        if certificates:
            self._send(ask.to, wire.CertificatesAnswer(certificates))
