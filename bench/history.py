"""CPU of the history rows alone, microseconds per transfer: one projector on a ledger whose blocks are all there.

    python bench/history.py [--transactions 100000] [--accounts 10000] [--repeat 3] [--out FILE]

`busy` is what one slice at a time costs, as beside decisions; `idle` is how a node catches up when nothing else is to
do; `reindex` throws the rows away first. CPU time of the process, minimum of the repetitions; each begins with the same
file. Blocks of other sizes than 483 transactions, other senders than 1,000: change the constants.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from potchain.application.accounts import AccountsApplication
from potchain.application.execution import Executor
from potchain.application.state import AuthenticatedState
from potchain.blocks import OrderCertificate, build_proposal
from potchain.driver import bookkeeper
from potchain.genesis import Genesis, InitialBalance, Parameters, Validator
from potchain.ledger.database import open_database
from potchain.ledger.migrate import upgrade
from potchain.ledger.projection import Projector
from potchain.ledger.reader import LedgerReader
from potchain.ledger.writer import LedgerWriter
from potchain.node import GC_THRESHOLD
from potchain.primitives import uint256
from potchain.transactions import Transfer

BLOCK = 483
"""Transactions per block in the 60 s run of `throughput.py`."""
SENDERS = 1_000


def build(path: Path, transactions: int, accounts: int) -> Executor:
    """A ledger of transfers from 1,000 senders; signatures are random bytes, since nothing here checks them."""
    generator = random.Random(1)
    addresses = sorted(generator.randbytes(20) for _ in range(accounts))
    balances = tuple(InitialBalance(address, uint256(10**15)) for address in addresses)
    genesis = Genesis("bench", 1, (Validator("v", bytes(32), bytes(33), bytes(20)),), balances, Parameters())
    executor = Executor(genesis, [AccountsApplication()])
    records = tuple(executor.genesis_records())
    state = AuthenticatedState.from_records(records)
    parent = executor.genesis_block(state.root)
    database = open_database(path, role="ledger")
    upgrade(database)
    writer = LedgerWriter(database)
    writer.initialise(genesis, parent, records)
    senders = generator.sample(addresses, min(SENDERS, accounts))
    for first in range(0, transactions, BLOCK):
        included = [
            executor.types.assemble(
                Transfer(
                    senders[number % len(senders)], number // len(senders), uint256(10), 0,
                    generator.choice(addresses), uint256(1 + number % 1000), b"",
                ),
                generator.randbytes(64) + b"\x1b",
            )
            for number in range(first, min(first + BLOCK, transactions))
        ]  # fmt: skip
        height = parent.height + 1
        ids = [transaction.id for transaction in included]
        proposal = build_proposal(genesis.hash, 0, height, 1_000 * height, bytes(20), ids)
        certificate = OrderCertificate("bench", 1, bytes(300))
        block = executor.execute_block(parent, genesis.first_epoch, proposal, included, state, certificate)
        writer.apply([block])
        parent = block.header
    database.close()
    return executor


def busy(projector: Projector) -> None:
    while projector.lag():
        projector.project(bookkeeper.SLICE_NS, time.monotonic_ns)
    projector.catch_up()


def measure(template: Path, executor: Executor, work: Callable[[Projector], None]) -> tuple[int, int]:
    """CPU and wall nanoseconds of the work on a copy of the ledger."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        shutil.copyfile(template, path)
        database = open_database(path, role="ledger")
        tip = LedgerReader(database).tip()
        projector = Projector(database, executor.types, executor.event_types, lambda: (tip.height, tip.tx_total))
        cpu_ns, wall_ns = time.process_time_ns(), time.perf_counter_ns()
        work(projector)
        cpu_ns, wall_ns = time.process_time_ns() - cpu_ns, time.perf_counter_ns() - wall_ns
        assert projector.lag() == 0
        database.close()
    return cpu_ns, wall_ns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    gc.set_threshold(GC_THRESHOLD, 20, 50)  # as a node does
    ways: dict[str, Callable[[Projector], None]] = {
        "busy": busy,
        "idle": Projector.catch_up,
        "reindex": Projector.reindex,
    }
    table: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template.sqlite"
        executor = build(template, args.transactions, args.accounts)
        for name, work in ways.items():
            runs = [measure(template, executor, work) for _ in range(args.repeat)]
            cpu, wall = (round(min(column) / args.transactions / 1000, 2) for column in zip(*runs, strict=True))
            table[name] = {"cpu_us": cpu, "wall_us": wall}
            print(f"{name:10} {cpu:8.2f} us CPU {wall:8.2f} us wall per transaction", flush=True)
    if args.out:
        facts = {"transactions": args.transactions, "accounts": args.accounts, "per_transaction": table}
        args.out.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
