"""The shared downlink: what comes at once is passed on one after another, at exactly its rate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from potchain.links import OFF, Inbound, LinkProfile, Phase
from potchain.primitives import NS_PER_S


def downlink(*phases: tuple[int, int]) -> Inbound:
    """Phases of (beginning, bits per second)."""
    made = tuple(Phase(from_ns=from_ns, down_bits_per_s=rate) for from_ns, rate in phases)
    return Inbound(LinkProfile(phases=made).checked(), 0)


def test_a_downlink_as_fast_as_the_uplink_adds_nothing() -> None:
    inbound = downlink((0, 8_000))
    assert [inbound.through_ns(1_000, NS_PER_S, at * NS_PER_S) for at in (1, 2, 5)] == [
        NS_PER_S, 2 * NS_PER_S, 5 * NS_PER_S
    ]  # fmt: skip


def test_what_comes_from_many_at_once_queues() -> None:
    inbound = downlink((0, 8_000))
    assert [inbound.through_ns(1_000, NS_PER_S, NS_PER_S) for _ in range(4)] == [n * NS_PER_S for n in (1, 2, 3, 4)]
    faster = downlink((0, 16_000))
    assert [faster.through_ns(1_000, NS_PER_S, NS_PER_S) for _ in range(4)] == [
        NS_PER_S, NS_PER_S, 3 * NS_PER_S // 2, 2 * NS_PER_S
    ]  # fmt: skip


def test_the_rate_changes_in_the_middle_of_a_frame() -> None:
    inbound = downlink((0, 8_000), (NS_PER_S, 4_000), (2 * NS_PER_S, 0), (3 * NS_PER_S, 8_000))
    assert inbound.through_ns(1_000, 0, NS_PER_S // 2) == NS_PER_S + NS_PER_S
    assert inbound.through_ns(1_000, 0, NS_PER_S) == 2 * NS_PER_S, "from then on nothing limits it"
    assert inbound.through_ns(10**6, 0, 5 * NS_PER_S // 2) == 5 * NS_PER_S // 2
    assert inbound.through_ns(1_000, 0, 3 * NS_PER_S) == 4 * NS_PER_S


def test_without_a_limit_nothing_is_held() -> None:
    assert Inbound(OFF, 0).through_ns(10**6, 7, 9) == 9
    inbound = downlink((0, 8_000))
    assert inbound.through_ns(1_000, 0, 0) == NS_PER_S
    inbound.change(OFF, 5)
    assert inbound.through_ns(1_000, 0, 6) == NS_PER_S, "never before what came earlier"
    assert inbound.through_ns(1_000, 0, NS_PER_S + 1) == NS_PER_S + 1


@given(
    st.integers(100, 10**12),
    st.lists(st.tuples(st.integers(1, 70_000), st.integers(0, 10**9), st.integers(0, 10**9)), max_size=30),
)
def test_no_more_passes_than_bandwidth_times_time(rate: int, frames: list[tuple[int, int, int]]) -> None:
    inbound = downlink((0, rate))
    arrived_ns = 10**9
    moments: list[int] = []
    bits = 0
    for size, wait_ns, sending_ns in frames:
        arrived_ns += wait_ns
        through_ns = inbound.through_ns(size, sending_ns, arrived_ns)
        bits += 8 * size
        assert through_ns >= arrived_ns
        moments.append(through_ns)
        assert bits * NS_PER_S <= rate * through_ns, "since the time at which the first bit can have come"
    # Rounded up once for the whole busy time, however many frames it had.
    together = downlink((0, rate))
    ends = [together.through_ns(size, 0, 0) for size, _, _ in frames]
    total = 0
    for (size, _, _), end in zip(frames, ends, strict=True):
        total += 8 * size
        assert end == -(-total * NS_PER_S // rate)
