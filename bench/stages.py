"""CPU of each stage that a transaction passes in one validator, microseconds per transaction, minimum of several runs.

    python bench/stages.py [--out bench/results/stages.json]
"""

from __future__ import annotations

import argparse
import json
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from potchain.application.accounts import AccountsApplication, load_account
from potchain.application.execution import Executor
from potchain.application.state import AuthenticatedState
from potchain.blocks import OrderCertificate, build_proposal
from potchain.crypto import SigningKey, recover_address
from potchain.genesis import Genesis, InitialBalance, Parameters, Validator
from potchain.ledger.database import open_database
from potchain.ledger.migrate import upgrade
from potchain.ledger.projection import Projector
from potchain.ledger.votes import VoteLog
from potchain.ledger.writer import LedgerWriter
from potchain.pool import TransactionPool
from potchain.primitives import uint, uint256
from potchain.replica import wire
from potchain.transactions import Transfer
from potchain.typed_data import body_from_json, struct_to_json

COUNT = 1_000


def cpu_us(work: Callable[[], object], count: int, repeat: int = 5) -> float:
    """Least CPU time of a call over `repeat`, per item."""
    best = float("inf")
    for _ in range(repeat):
        began = time.process_time_ns()
        work()
        best = min(best, time.process_time_ns() - began)
    return round(best / count / 1000, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    keys = [SigningKey.generate() for _ in range(COUNT)]
    addresses = [key.address for key in keys] + [secrets.token_bytes(20) for _ in range(args.accounts - COUNT)]
    validator_key = SigningKey.generate()
    genesis = Genesis(
        "bench", 1, (Validator("v", bytes(32), validator_key.public_key, bytes(20)),),
        tuple(InitialBalance(address, uint256(10**12)) for address in sorted(addresses)), Parameters(),
    )
    executor = Executor(genesis, [AccountsApplication()])
    types = executor.types
    state = AuthenticatedState.from_records(executor.genesis_records())
    rounds = [
        [
            types.sign(Transfer(key.address, nonce, uint256(10), 0, addresses[(i * 7919 + nonce) % len(addresses)],
                                uint256(1), b""), key)
            for i, key in enumerate(keys)
        ]
        for nonce in range(8)
    ]
    first = rounds[0]
    raws = [transaction.raw for transaction in first]
    table: dict[str, float] = {}
    kind = types.kinds["Transfer"]
    documents = [
        {"kind": "Transfer", "message": struct_to_json(t.body), "signature": "0x" + t.signature.hex()} for t in first
    ]
    encoded = msgspec.json.encode(documents)
    table["JSON decode"] = cpu_us(lambda: msgspec.json.decode(encoded), COUNT)
    table["body from JSON"] = cpu_us(lambda: [body_from_json(kind, d["message"]) for d in documents], COUNT)
    table["assemble and id"] = cpu_us(lambda: [types.assemble(t.body, t.signature) for t in first], COUNT)
    table["parse and id"] = cpu_us(lambda: [types.parse(raw) for raw in raws], COUNT)
    table["recover signer"] = cpu_us(lambda: [recover_address(t.id, t.signature) for t in first], COUNT)
    gossip = wire.Gossip(tuple(raws))
    frame = wire.encode_frame(gossip)
    table["gossip encode"] = cpu_us(lambda: wire.encode_frame(gossip), COUNT)
    table["gossip decode"] = cpu_us(lambda: wire.decode_frame(frame), COUNT)

    def account(address: bytes) -> tuple[int, int]:
        found = load_account(state, address)
        return found.nonce, uint(found.balance)

    def admit(pool: TransactionPool) -> None:
        for transaction in first:
            executor.check(transaction, state, genesis.first_epoch, 2)
            nonce, balance = account(transaction.sender)
            pool.admit(transaction, account_nonce=nonce, balance=balance, base_fee=10, block_time_ms=2, now_ns=1)

    table["check and admit"] = cpu_us(lambda: admit(TransactionPool()), COUNT)
    pool = TransactionPool()
    admit(pool)
    table["select"] = cpu_us(
        lambda: pool.select(count_max=COUNT, bytes_max=2**22, now_ns=2, block_time_ms=2), COUNT
    )
    ids = [transaction.id for transaction in first]
    table["build proposal"] = cpu_us(lambda: build_proposal(genesis.hash, 0, 1, 1, bytes(20), ids), COUNT)
    certificate = OrderCertificate("bench", 1, b"")
    parent = executor.genesis_block(state.root)
    blocks = []
    execute_us, tree_us, pool_us = [], [], []
    for height, transactions in enumerate(rounds, 1):
        proposal = build_proposal(genesis.hash, 0, height, height, bytes(20), [t.id for t in transactions])
        began = time.process_time_ns()
        result = executor.execute(parent, genesis.first_epoch, proposal, transactions, state, certificate)
        middle = time.process_time_ns()
        root = state.apply(result.changes)
        ended = time.process_time_ns()
        block = executor.seal(result, root)
        execute_us.append((middle - began) / COUNT / 1000)
        tree_us.append((ended - middle) / COUNT / 1000)
        if height == 1:
            began = time.process_time_ns()
            pool.executed(transactions, block.receipts, account, 3)
            pool_us.append((time.process_time_ns() - began) / COUNT / 1000)
        blocks.append(block)
        parent = block.header
    table["execute"] = round(min(execute_us), 2)
    table["state tree"] = round(min(tree_us), 2)
    table["pool after block"] = round(min(pool_us), 2)
    with tempfile.TemporaryDirectory() as folder:
        votes = open_database(Path(folder) / "votes.sqlite", role="votes")
        upgrade(votes)
        log = VoteLog(votes, genesis.hash)
        log.load()
        table["body log"] = cpu_us(lambda: log.append(bodies=raws), COUNT)
        ledger = open_database(Path(folder) / "ledger.sqlite", role="ledger")
        upgrade(ledger)
        writer = LedgerWriter(ledger)
        records = tuple(executor.genesis_records())
        writer.initialise(genesis, executor.genesis_block(AuthenticatedState.from_records(records).root), records)
        projector = Projector(ledger, types, executor.event_types)
        while projector.lag():
            projector.project(5_000_000, time.monotonic_ns)
        began = time.process_time_ns()
        for block in blocks:
            writer.apply([block])
        table["decide transaction"] = round((time.process_time_ns() - began) / COUNT / len(blocks) / 1000, 2)
        began = time.process_time_ns()
        while projector.lag():
            projector.project(5_000_000, time.monotonic_ns)
        table["history rows"] = round((time.process_time_ns() - began) / COUNT / len(blocks) / 1000, 2)
        votes.close()
        ledger.close()
    for stage, microseconds in table.items():
        print(f"{stage:20} {microseconds:8.2f} us")
    if args.out:
        args.out.write_text(json.dumps({"accounts": args.accounts, "cpu_us_per_transaction": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
