"""Where signatures are best checked: evidence for docs/adr/0007. Run it: python docs/measurements/vote_check.py

Part 1 is a single vote, which the driver checks as it arrives: in place, or handed to a thread. Part 2 is what a
batch of transactions does to the event loop while it is checked in place, on a thread, or in a worker process: a
ticker wants to wake up every millisecond, and how late it wakes is how late a vote would be looked at. Part 3 keeps
the loop busy with Python work of its own while a thread or a process checks, and counts what both get done.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

from potchain.blocks import vote_bytes
from potchain.crypto import SigningKey, parse_public_key, verify_vote
from potchain.driver import verify_worker

VOTES = 2_000
TRANSACTIONS = 2_048
CHUNK = 256
ROUNDS = 5
TICK_S = 0.001
BUSY_S = 2
PIECES = 10


def votes() -> tuple[bytes, bytes, SigningKey]:
    key = SigningKey.generate()
    message = vote_bytes(bytes(32), 0, "commit", 0, 1, bytes(range(32)), key.address)
    return message, key.sign_vote(message), key


async def single_votes(threads: ThreadPoolExecutor) -> None:
    message, signature, key = votes()
    public = parse_public_key(key.public_key)
    loop = asyncio.get_running_loop()

    def in_place() -> None:
        for _ in range(VOTES):
            assert verify_vote(public, message, signature)

    async def one_by_one() -> None:
        for _ in range(VOTES):
            assert await loop.run_in_executor(threads, verify_vote, public, message, signature)

    async def all_at_once() -> None:
        each = [loop.run_in_executor(threads, verify_vote, public, message, signature) for _ in range(VOTES)]
        assert all(await asyncio.gather(*each))

    async def wrapped() -> None:
        in_place()

    print(f"one vote, best of {ROUNDS} rounds of {VOTES}:            wall us   CPU us of the whole process")
    for name, work in (
        ("in place", wrapped),
        ("a thread, one by one", one_by_one),
        ("a thread, all at once", all_at_once),
    ):
        walls, cpus = [], []
        for _ in range(ROUNDS):
            wall, cpu = time.perf_counter_ns(), time.process_time_ns()
            await work()
            walls.append((time.perf_counter_ns() - wall) / VOTES / 1000)
            cpus.append((time.process_time_ns() - cpu) / VOTES / 1000)
        print(f"  {name:<44} {min(walls):9.0f} {min(cpus):9.0f}")


def entries(count: int) -> bytes:
    key = SigningKey.generate()
    digests = [number.to_bytes(32, "big") for number in range(1, count + 1)]
    return b"".join(digest + key.sign_digest(digest) + key.address for digest in digests)


async def lateness(work: Callable[[], Awaitable[None]]) -> tuple[float, list[float]]:
    """Milliseconds that the work took, and by how many a tick came late meanwhile."""
    late: list[float] = []
    done = False

    async def tick() -> None:
        while not done:
            began = time.perf_counter()
            await asyncio.sleep(TICK_S)
            late.append((time.perf_counter() - began - TICK_S) * 1000)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.02)
    late.clear()
    began = time.perf_counter()
    await work()
    took = (time.perf_counter() - began) * 1000
    done = True
    await ticker
    return took, late


async def batches(threads: ThreadPoolExecutor, processes: ProcessPoolExecutor) -> None:
    data = entries(TRANSACTIONS)
    size = CHUNK * verify_worker.ENTRY_BYTES
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    loop = asyncio.get_running_loop()

    async def in_place() -> None:
        for chunk in chunks:
            assert 0 not in verify_worker.check_signatures(chunk)
            await asyncio.sleep(0)

    async def elsewhere(pool: ThreadPoolExecutor | ProcessPoolExecutor) -> None:
        each = [loop.run_in_executor(pool, verify_worker.check_signatures, chunk) for chunk in chunks]
        assert not any(0 in verdicts for verdicts in await asyncio.gather(*each))

    print(f"{TRANSACTIONS} transactions in chunks of {CHUNK}, {ROUNDS} rounds: us each; ms that a tick came late")
    for name, work in (
        ("on the loop", in_place),
        ("one thread", lambda: elsewhere(threads)),
        ("one worker process", lambda: elsewhere(processes)),
    ):
        await work()
        results = [await lateness(work) for _ in range(ROUNDS)]
        late = sorted(value for _, values in results for value in values)
        took = min(wall for wall, _ in results) * 1000 / TRANSACTIONS
        p50, p99 = statistics.median(late), late[int(len(late) * 0.99)]
        print(f"  {name:<44} {took:9.0f}   p50 {p50:.2f} p99 {p99:.2f} max {late[-1]:.2f}")


async def busy_loop(threads: ThreadPoolExecutor, processes: ProcessPoolExecutor) -> None:
    chunk = entries(CHUNK // 8)
    loop = asyncio.get_running_loop()

    async def share(pool: ThreadPoolExecutor | ProcessPoolExecutor | None) -> tuple[float, float]:
        """Pieces of work per second on the loop, and checks per second beside it."""
        pieces = checked = 0
        began = time.perf_counter()
        done = False

        async def check() -> None:
            nonlocal checked
            while not done:
                await loop.run_in_executor(pool, verify_worker.check_signatures, chunk)
                checked += len(chunk) // verify_worker.ENTRY_BYTES

        checking = asyncio.create_task(check()) if pool else None
        while time.perf_counter() < began + BUSY_S:
            for _ in range(PIECES):
                sum(number * number for number in range(2_000))
            pieces += PIECES
            await asyncio.sleep(TICK_S)
        done = True
        took = time.perf_counter() - began
        rates = pieces / took, checked / took
        if checking:
            await checking
        return rates

    print(f"a loop that works and waits by turns, {BUSY_S} s each:    pieces of loop work/s   checks/s beside it")
    for name, pool in (("nothing beside it", None), ("one thread", threads), ("one worker process", processes)):
        results = [await share(pool) for _ in range(ROUNDS)]
        pieces, checks = statistics.median(each[0] for each in results), statistics.median(each[1] for each in results)
        print(f"  {name:<44} {pieces:9.0f} {checks:20.0f}")


async def main() -> None:
    with (
        ThreadPoolExecutor(1) as threads,
        ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=verify_worker.begin) as processes,
    ):
        await single_votes(threads)
        await batches(threads, processes)
        await busy_loop(threads, processes)


if __name__ == "__main__":
    asyncio.run(main())
