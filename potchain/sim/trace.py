"""The trace of a run: one readable line for everything that happens, and one hash over all lines.

Two runs of one plan give the same lines, so the same hash; that is what the determinism tests compare. Nothing of the
real world may get in: no object ids, no wall clock, no order of a set.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from zlib import crc32

from potchain.consensus.interface import ConsensusMessage
from potchain.primitives import NS_PER_S
from potchain.replica import wire

TraceSink = Callable[[str], None]
"""Is given each line, without a line end."""
_CHUNK = 512


class Trace:
    """Collects lines."""

    def __init__(self, sink: TraceSink | None = None) -> None:
        self._sink = sink
        self._hash = sha256()
        self._lines: list[str] = []
        self.count = 0

    def line(self, now_ns: int, text: str) -> None:
        """Something happened."""
        line = f"t={now_ns // NS_PER_S}.{now_ns % NS_PER_S:09d} {text}"
        self.count += 1
        self._lines.append(line)
        if len(self._lines) >= _CHUNK:
            self._flush()
        if self._sink is not None:
            self._sink(line)

    def digest(self) -> str:
        """sha256 over all lines so far, hex."""
        self._flush()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        if self._lines:
            self._hash.update(("\n".join(self._lines) + "\n").encode())
            self._lines = []


def frame_text(frame: wire.Frame | bytes, data: bytes) -> str:
    """A frame in a few words, with a checksum of its bytes. Bytes are what a liar sent that is no frame."""
    checksum = f"{crc32(data):08x}"
    match frame:
        case ConsensusMessage():
            place = f"e{frame.epoch} v{frame.view} s{frame.sequence} 0x{frame.digest[:6].hex()}"
            return f"{frame.kind} {place} by 0x{frame.sender[:3].hex()} #{checksum}"
        case bytes():
            return f"{len(frame)} bytes of rubbish #{checksum}"
        case wire.Gossip() | wire.BodiesAnswer():
            return f"{type(frame).__name__} of {len(frame.transactions)} #{checksum}"
        case wire.PeerProgress():
            return f"PeerProgress {frame.executed}/{frame.certified}/{frame.stable} #{checksum}"
        case wire.FetchBlocks() | wire.FetchCertificates():
            return f"{type(frame).__name__} from {frame.from_height}, {frame.count} #{checksum}"
        case wire.BlocksAnswer():
            return f"BlocksAnswer of {len(frame.blocks)} #{checksum}"
        case _:
            return f"{type(frame).__name__} #{checksum}"
