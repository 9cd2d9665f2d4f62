"""Latencies of frames as arrays: the same distribution as the link model's, and the same numbers where that is cheap.

Up to `EXACT_NODES_MAX` nodes a latency is the one that `potchain.links.draws` gives the frame with that number on that
link, so results agree with mode "virtual" frame by frame. Every one costs a hash in Python, three for each pair of
nodes. Beyond that a counter-based generator (Philox) keyed by the seed and by what the frame is for draws whole
matrices of 32-bit floats: the same distribution, other numbers.
"""

from __future__ import annotations

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from potchain.links import Conditions
from potchain.links.draws import link_seed

EXACT_NODES_MAX = 200
"""Nodes up to which latencies are those of `potchain.links.draws`."""

CLIENT = -1
"""The client in place of a node's index."""

Times = NDArray[np.floating]
"""Nanoseconds: 64-bit floats, or 32-bit ones in the matrices of large networks."""
Numbers = NDArray[np.int64]
"""Numbers of frames on their links, from 0."""

_MATRICES = -3
_REPLIES = -2
"""Streams of the generator that belong to no sender."""

_VOTES = -2
_REPLY = -1
"""Frames that are no bodies: vote v is _VOTES - v."""

_DIGEST_WORDS = 4
_LATENCY_WORD = 1
"""Of a draw's four words the second decides the latency."""


def endpoint(index: int) -> str:
    """Name of an endpoint in the link model."""
    return "client" if index == CLIENT else f"node{index}"


class Latencies:
    """All draws of one run. `nodes` counts those that are up."""

    def __init__(self, seed: int, nodes: int, conditions: Conditions, *, exact: bool) -> None:
        self._seed = seed
        self._nodes = nodes
        self._low_ns, self._high_ns = conditions.latency_range_ns
        self._exact = exact
        self._seeds: dict[tuple[int, int], bytes] = {}
        self._rows: dict[tuple[int, int, tuple[int, ...]], Times] = {}
        self._last: dict[tuple[int, int], Times] = {}
        """What was given for a sender's frame, where that depends on numbers."""
        self._everybody = tuple(range(nodes))
        self.dtype: type[np.floating] = np.float64 if exact else np.float32
        """Of the matrices."""

    @property
    def exact(self) -> bool:
        """Whether a frame's number on its link decides its latency; else what the frame is for does."""
        return self._exact

    def from_one(self, sender: int, receivers: tuple[int, ...], numbers: Numbers | None, frame: int) -> Times:
        """Of copies of one frame from a sender to each receiver; `numbers` of the copies on their links, by receiver.

        `frame` tells the sender's frames apart: without numbers the same draws are given once more.
        """
        if not self._exact:
            return self._row(sender, frame, receivers)
        if numbers is not None:
            least, most = int(numbers.min()), int(numbers.max())
            rows = np.array([self._row(sender, number, receivers) for number in range(least, most + 1)])
            self._last[sender, frame] = rows[numbers - least, np.arange(len(receivers))]
        return self._last[sender, frame]

    def among_all(self, phase: int, numbers: Numbers | None) -> Times:
        """A matrix [receiver, sender] for one frame from each node to each other; `numbers` likewise.

        The diagonal has no meaning. `phase` tells the matrices of one run apart: without numbers the same draws are
        given once more.
        """
        shape = (self._nodes, self._nodes)
        if self._low_ns == self._high_ns:
            return np.full(shape, self._low_ns, dtype=self.dtype)
        if self._exact:
            mine = [None if numbers is None else numbers[:, i] for i in range(self._nodes)]
            rows = [self.from_one(i, self._everybody, mine[i], _VOTES - phase) for i in range(self._nodes)]
            return np.array(rows).T.copy()
        matrix = self._generator(_MATRICES, phase).random(shape, dtype=np.float32)
        matrix *= np.float32(self._high_ns - self._low_ns)
        matrix += np.float32(self._low_ns)
        return matrix

    def to_client(self, numbers: Numbers | None) -> Times:
        """Of one frame from each node to the client; `numbers` by node."""
        if self._exact:
            mine = [None if numbers is None else numbers[i : i + 1] for i in range(self._nodes)]
            return np.array([self.from_one(i, (CLIENT,), mine[i], _REPLY)[0] for i in range(self._nodes)])
        return self._row(_REPLIES, 0, self._everybody)

    def _row(self, sender: int, number: int, receivers: tuple[int, ...]) -> Times:
        key = (sender, number, receivers)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._drawn(*key)
        return row

    def _drawn(self, sender: int, number: int, receivers: tuple[int, ...]) -> Times:
        if self._low_ns == self._high_ns:
            return np.full(len(receivers), float(self._low_ns))
        width_ns = self._high_ns - self._low_ns
        if not self._exact:
            return self._low_ns + width_ns * self._generator(sender, number).random(len(receivers))
        counter = number.to_bytes(8, "big")
        digests = b"".join([sha256(self._link(sender, each) + counter).digest() for each in receivers])
        words = np.frombuffer(digests, dtype=">u8").reshape(-1, _DIGEST_WORDS)[:, _LATENCY_WORD]
        return (self._low_ns + scaled(words.astype(np.uint64), width_ns + 1)).astype(np.float64)

    def _generator(self, stream: int, number: int) -> np.random.Generator:
        key = np.array([self._seed, stream - _MATRICES << 40 | number], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key))

    def _link(self, sender: int, receiver: int) -> bytes:
        seed = self._seeds.get((sender, receiver))
        if seed is None:
            seed = link_seed(self._seed, endpoint(sender), endpoint(receiver))
            self._seeds[sender, receiver] = seed
        return seed


def scaled(words: NDArray[np.uint64], span: int) -> NDArray[np.int64]:
    """words * span >> 64 without rounding, for a span of at most 40 bits: what `draws.draw` does with one word.

    >>> scaled(np.array([2**63], dtype=np.uint64), 1_000_001).tolist()
    [500000]
    """
    assert 0 < span <= 2**40, f"a span of {span} does not fit"
    # Word = a * 2^40 + b * 2^16 + c, so that no product exceeds 64 bits.
    factor = np.uint64(span)
    carry = (words & np.uint64(0xFFFF)) * factor >> np.uint64(16)
    carry = ((words >> np.uint64(16) & np.uint64(0xFFFFFF)) * factor + carry) >> np.uint64(24)
    return (((words >> np.uint64(40)) * factor + carry) >> np.uint64(24)).astype(np.int64)
