"""Bounded queue of unsent frames of one channel to one peer. Pure: it fills a list of chunks for one write."""

from __future__ import annotations

from collections import deque

from potchain import FRAME_BYTES_MAX, Channel
from potchain_tcp.framing import DATA, FRAMING_VERSION, HEADER, MORE, PIECE_BYTES_MAX


class SendQueue:
    """First in, first out; `bytes_queued` counts frames and one header each, so empty frames are bounded too."""

    def __init__(self, channel: Channel, bytes_max: int) -> None:
        self._channel = int(channel)
        self._bytes_max = bytes_max
        self.frames: deque[bytes] = deque()
        """Those that are not wholly taken."""
        self._offset = 0
        """Bytes of the first frame that were already taken."""
        self.bytes_queued = 0

    def __len__(self) -> int:
        return len(self.frames)

    def push(self, frame: bytes) -> bool:
        """Append; False when the frame is too long or the queue has no room for it."""
        if not self.reserve(frame):
            return False
        self.frames.append(frame)
        return True

    def reserve(self, frame: bytes) -> bool:
        """Keep room for a frame that comes later, through `enter`, or never, through `release`; False as in `push`."""
        cost = len(frame) + HEADER.size
        if self.bytes_queued + cost > self._bytes_max or len(frame) > FRAME_BYTES_MAX:
            return False
        self.bytes_queued += cost
        return True

    def enter(self, frame: bytes) -> None:
        """Append a frame that has its room."""
        self.frames.append(frame)

    def release(self, frame: bytes) -> None:
        """Give the room of a frame back."""
        self.bytes_queued -= len(frame) + HEADER.size

    def take(self, chunks: list[bytes | memoryview], pieces_max: int, bytes_max: int) -> int:
        """Move pieces, headers included, to the end of `chunks`, at least one if any; how many frames ended."""
        ended = pieces = taken = 0
        frames, pack, data = self.frames, HEADER.pack, DATA
        while frames and pieces < pieces_max and taken < bytes_max:
            frame = frames[0]
            left = len(frame) - self._offset
            size = min(left, PIECE_BYTES_MAX)
            flags = MORE if left > PIECE_BYTES_MAX else 0
            chunks.append(pack(FRAMING_VERSION, data, self._channel, flags, size))
            chunks.append(frame if size == len(frame) else memoryview(frame)[self._offset : self._offset + size])
            pieces += 1
            taken += HEADER.size + size
            if flags:
                self._offset += size
                continue
            frames.popleft()
            self._offset = 0
            self.bytes_queued -= len(frame) + HEADER.size
            ended += 1
        return ended

    def clear(self) -> int:
        """Forget everything, kept room too; how many frames were lost."""
        lost = len(self.frames)
        self.frames.clear()
        self._offset = 0
        self.bytes_queued = 0
        return lost
