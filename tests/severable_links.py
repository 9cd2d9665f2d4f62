"""TCP links between live nodes that a test can cut: each node reaches each other one through a proxy of its own."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from contextlib import suppress
from types import TracebackType

from live_network import LiveNetwork


class SeverableLinks:
    """Rewrites the peers of nodes that are not started yet; a context manager."""

    def __init__(self, live: LiveNetwork) -> None:
        self._live = live
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._cut: set[frozenset[int]] = set()
        self._open: dict[frozenset[int], set[asyncio.StreamWriter]] = {}

    def __enter__(self) -> SeverableLinks:
        self._thread.start()
        names = [node.name for node in self._live.network.nodes]
        for index in range(len(names)):
            path = self._live.home(index) / "potchain.toml"
            text = path.read_text()
            for entry in re.findall(r"\[\[peers\]\][^\[]*", text):
                name = re.search(r'name = "([^"]+)"', entry)
                port = re.search(r"port = (\d+)", entry)
                assert name is not None, entry
                assert port is not None, entry
                peer = names.index(name.group(1))
                if peer != index:
                    proxy = self._serve(frozenset((index, peer)), int(port.group(1)))
                    text = text.replace(entry, entry.replace(f"port = {port.group(1)}", f"port = {proxy}"))
            path.write_text(text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(_end_all(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def partition(self, *groups: tuple[int, ...]) -> None:
        """Nothing passes between members of different groups, and open connections between them break."""
        group_of = {index: number for number, group in enumerate(groups) for index in group}
        self._call(self._set, {
            pair for pair in self._open if len({group_of[index] for index in pair}) > 1
        })

    def heal(self) -> None:
        """Everything passes."""
        self._call(self._set, set())

    def _call(self, work: object, *args: object) -> None:
        done = threading.Event()

        def run() -> None:
            work(*args)  # type: ignore[operator]
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10)

    def _set(self, cut: set[frozenset[int]]) -> None:
        self._cut = cut
        for pair in cut:
            for writer in self._open[pair]:
                writer.transport.abort()

    def _serve(self, pair: frozenset[int], target_port: int) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        writers = self._open.setdefault(pair, set())

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if pair in self._cut:
                writer.transport.abort()
                return
            try:
                there_reader, there = await asyncio.open_connection("127.0.0.1", target_port)
            except OSError:
                writer.transport.abort()
                return
            writers.update((writer, there))
            await asyncio.gather(_pump(reader, there), _pump(there_reader, writer))
            writers.difference_update((writer, there))

        asyncio.run_coroutine_threadsafe(asyncio.start_server(connected, sock=listener), self._loop).result(10)
        return int(listener.getsockname()[1])


async def _end_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
