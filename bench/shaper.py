"""How exactly the live transport keeps to the link model, and what that costs: two transports on real loopback sockets.

    python bench/shaper.py [--seconds 2] [--loop asyncio|uvloop] [--out bench/results/shaper.json]

Bandwidth: the sender's queue is kept full; bytes through (as the model counts them) over the time between the first and
the last batch that came, against the rate. Delay: frames sent one by one, the time until the receiver's host has each
against the delay that the model drew for it; and again less what the same way takes without conditions (two loops,
TLS, the kernel), which is in the first row. Medians, because one moment without a processor would be most of a mean.
Cost: CPU of the process per small frame.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from potchain import (
    FRAME_OVERHEAD_BYTES,
    OFF,
    Channel,
    Conditions,
    LinkProfile,
    NodeId,
    Outbound,
    Peer,
    Phase,
    Rule,
    TransportConfig,
    TransportEvents,
)
from potchain_tcp import TcpOptions, TcpTransport

HOST = "127.0.0.1"
MBPS = (0.01, 0.1, 1, 30, 125, 1_000, 10_000)
LATENCIES_MS = (20, 50, 100, 300)
FRAME_BYTES_MAX = 65_536 - FRAME_OVERHEAD_BYTES
WINDOW_BYTES_MAX = 8 * 1024 * 1024
COST_FRAMES = 40_000
COST_BATCH = 100
SENDER, RECEIVER = NodeId(bytes([1]) * 20), NodeId(bytes([2]) * 20)
NAMES = {SENDER: "sender", RECEIVER: "receiver"}

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if importlib.util.find_spec("uvloop"):
    LOOPS["uvloop"] = importlib.import_module("uvloop").new_event_loop

Row = dict[str, float | str | None]


class End:
    """One of the two transports, and what it hears."""

    def __init__(self, me: NodeId, other: NodeId, port: int) -> None:
        self.connected = asyncio.Event()
        self.received: Callable[[Sequence[bytes]], None] = lambda frames: None
        peer = Peer(node_id=other, name=NAMES[other], node_key=key_of(other).public_key().public_bytes_raw(), host=HOST,
                    port=port)  # fmt: skip
        config = TransportConfig(
            me=me,
            node_key_secret=key_of(me).private_bytes_raw(),
            genesis_hash=bytes(32),
            listen_host=HOST,
            listen_port=0,
            peers=(peer,),
            name=NAMES[me],
        )
        events = TransportEvents(
            received=lambda peer, channel, frames: self.received(frames),
            connected=lambda peer: self.connected.set(),
            disconnected=lambda peer, reason: self.connected.clear(),
        )
        self.transport = TcpTransport(config, events, TcpOptions())


def key_of(node: NodeId) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(node).digest())


def profile_of(conditions: Conditions, seed: int = 1) -> LinkProfile:
    return LinkProfile(seed=seed, phases=(Phase(rules=(Rule(conditions=conditions),)),)).checked()


async def measure_bandwidth(sender: End, receiver: End, limit: str, mbps: float, seconds: float) -> Row:
    """Bytes through against bandwidth times time."""
    rate = round(mbps * 1_000_000)
    # A hundredth of the time for each frame, as far as frames of ordinary size allow.
    size = max(16, min(FRAME_BYTES_MAX, int(rate * seconds / 8 / 100) - FRAME_OVERHEAD_BYTES))
    cost = size + FRAME_OVERHEAD_BYTES
    window = max(4 * cost, min(WINDOW_BYTES_MAX, rate // 8 // 5))
    frame = bytes(size)
    batches: list[tuple[int, int]] = []
    sent = came = 0
    done = asyncio.Event()

    def top_up() -> None:
        nonlocal sent
        while sent - came + cost <= window and sender.transport.send(RECEIVER, Channel.BULK, frame):
            sent += cost

    def received(frames: Sequence[bytes]) -> None:
        nonlocal came
        now_ns = time.monotonic_ns()
        came += len(frames) * cost
        batches.append((now_ns, len(frames) * cost))
        if now_ns - batches[0][0] > seconds * 1e9:
            done.set()
        else:
            top_up()

    if limit == "link":
        sender.transport.set_links(profile_of(Conditions(bandwidth_bits_per_s=rate)))
    elif limit == "shared uplink":
        sender.transport.set_links(LinkProfile(phases=(Phase(up_bits_per_s=rate),)))
    else:
        receiver.transport.set_links(LinkProfile(phases=(Phase(down_bits_per_s=rate),)))
    receiver.received = received
    top_up()
    await done.wait()
    passed_bits = 8 * sum(size for _, size in batches[1:])
    bits_per_s = passed_bits * 1e9 / (batches[-1][0] - batches[0][0])
    # Stay until what is on its way has come; with conditions off it comes at once.
    sender.transport.set_links(OFF)
    receiver.transport.set_links(OFF)
    while came < sent:
        await asyncio.sleep(0.01)
    error_percent = 100 * (bits_per_s / rate - 1)
    return {"limit": limit, "asked_mbps": mbps, "got_mbps": bits_per_s / 1e6, "error_percent": error_percent}


async def measure_delay(
    sender: End, receiver: End, conditions: Conditions, seconds: float, path_ms: float = 0.0
) -> Row:
    """Delay of each frame against the drawn one; `path_ms` is what the way takes without conditions."""
    profile = profile_of(conditions)
    model = Outbound(profile, NAMES[SENDER], 0)
    count = max(50, int(seconds * 100))
    drawn: list[int] = []
    sent_at: list[int] = []
    errors: list[int] = []
    done = asyncio.Event()

    def received(frames: Sequence[bytes]) -> None:
        now_ns = time.monotonic_ns()
        for frame in frames:
            number = int.from_bytes(frame, "big")
            errors.append(now_ns - sent_at[number] - drawn[number])
        if len(errors) == count:
            done.set()

    sender.transport.set_links(OFF)  # forget how many frames went before
    sender.transport.set_links(profile)
    receiver.received = received
    for number in range(count):
        # Intervals that are no multiple of a timer's step.
        await asyncio.sleep((0.6 + 0.8 * (number * 0.618_034 % 1)) * seconds / count)
        now_ns = time.monotonic_ns()
        model.offer(NAMES[RECEIVER], None, 8 + FRAME_OVERHEAD_BYTES, urgent=True, now_ns=now_ns)
        (departure,) = model.collect(now_ns)
        drawn.append(departure.arrives_ns[0] - now_ns)
        sent_at.append(now_ns)
        sender.transport.send(RECEIVER, Channel.VOTES, number.to_bytes(8, "big"))
    await done.wait()
    drawn_ms = statistics.fmean(drawn) / 1e6
    error_ms = statistics.median(errors) / 1e6
    absolute = sorted(map(abs, errors))
    return {
        "latency_ms": conditions.latency_ns / 1e6,
        "distribution": conditions.distribution,
        "drawn_mean_ms": drawn_ms,
        "error_ms": error_ms,
        "error_percent": 100 * error_ms / drawn_ms if drawn_ms else None,
        "less_path_percent": 100 * (error_ms - path_ms) / drawn_ms if drawn_ms else None,
        "error_mean_ms": statistics.fmean(errors) / 1e6,
        "error_p90_ms": absolute[len(absolute) * 9 // 10] / 1e6,
    }


async def measure_cost(sender: End, receiver: End, links: LinkProfile, *, alone: bool) -> float:
    """CPU microseconds of the process per frame of 100 bytes, in batches or one by one; least of five."""
    batch = 1 if alone else COST_BATCH
    frame = bytes(100)
    count = COST_FRAMES // (8 if alone else 1)
    came = 0
    done = asyncio.Event()

    def received(frames: Sequence[bytes]) -> None:
        nonlocal came
        came += len(frames)
        if came == count:
            done.set()
        elif came % batch == 0:
            send()

    def send() -> None:
        for _ in range(batch):
            sender.transport.send(RECEIVER, Channel.VOTES, frame)

    sender.transport.set_links(links)
    receiver.received = received
    least = float("inf")
    for _ in range(5):
        came = 0
        done.clear()
        began_ns = time.process_time_ns()
        send()
        await done.wait()
        least = min(least, (time.process_time_ns() - began_ns) / count / 1000)
    return least


async def measure(seconds: float) -> dict[str, list[Row]]:
    """All tables."""
    receiver = End(RECEIVER, SENDER, 0)
    await receiver.transport.start()
    sender = End(SENDER, RECEIVER, receiver.transport.listen_port)
    await sender.transport.start()
    await sender.connected.wait()
    await receiver.connected.wait()
    bandwidth = []
    for limit, mbps in [*(("link", mbps) for mbps in MBPS), ("shared uplink", 25), ("shared downlink", 25)]:
        bandwidth.append(await measure_bandwidth(sender, receiver, limit, mbps, seconds))
        show(bandwidth[-1])
    delay = [await measure_delay(sender, receiver, Conditions(), seconds)]
    show(delay[-1])
    path_ms = float(delay[0]["error_ms"] or 0)
    for latency_ms in LATENCIES_MS:
        constant = Conditions(latency_ns=latency_ms * 1_000_000)
        for conditions in (constant, msgspec.structs.replace(constant, distribution="uniform")):
            delay.append(await measure_delay(sender, receiver, conditions, seconds, path_ms))
            show(delay[-1])
    cost: list[Row] = []
    shaped = profile_of(Conditions(loss_ppm=1)), profile_of(Conditions(bandwidth_bits_per_s=10**12))
    for alone in (False, True):
        costs = [await measure_cost(sender, receiver, links, alone=alone) for links in (OFF, *shaped)]
        cost.append({
            "frames": "one per tick" if alone else f"{COST_BATCH} per tick",
            "off_us": costs[0], "on_us": costs[1], "on_with_bandwidth_us": costs[2],
        })  # fmt: skip
        show(cost[-1])
    await sender.transport.close()
    await receiver.transport.close()
    return {"bandwidth": bandwidth, "delay": delay, "cpu_per_frame": cost}


def show(row: Row) -> None:
    print("  ".join(f"{key} {value:.4g}" if isinstance(value, float | int) else f"{key} {value}"
                    for key, value in row.items()), flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    parser.add_argument("--loop", choices=sorted(LOOPS), help="default: each that is installed")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    tables = {}
    for loop in [args.loop] if args.loop else LOOPS:
        print(loop)
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            tables[loop] = runner.run(measure(args.seconds))
    if args.out:
        args.out.write_text(json.dumps({"seconds": args.seconds, **tables}, indent=2) + "\n")


if __name__ == "__main__":
    main()
