"""Gas of everything that the settlement contracts do, measured on anvil, beside what was promised and the seed's.

    python contracts/gas.py            measures, writes bench/results/gas.json; then run python docs/generate.py
    python contracts/gas.py --check    measures, exits 1 if a figure is not the committed one

The promised figures are those of `potchain contract gas` (`potchain_multisig.operator.gas_report`); the others are made
with the same bench. Keys, accounts and order are fixed and anvil follows the rules of cancun, so every figure is exact.
`npm ci` in contracts/ comes first: it brings anvil and the published code of the Safe.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from eth_abi.abi import encode

from potchain import Action, Contract, Entry, action_digest, checksum_address, keccak256, uint256
from potchain.application.settlement.roots import leaf_hash, pair_hash
from potchain_multisig.calls import Interface
from potchain_multisig.operator.deploying import Arguments, plan_deployment
from potchain_multisig.operator.devnet import ANVIL_VERSION, HARDFORK, Devnet, DevnetOptions, find_anvil
from potchain_multisig.operator.gas_report import OWNERS, REWARD, THRESHOLD, Bench, measure
from potchain_multisig.safe import SAFE_ABI

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "gas.json"
SAFE_BUILD = ROOT / "contracts/node_modules/@safe-global/safe-contracts/build/artifacts/contracts"
SIZES = (1, 10, 100, 500)
LEAVES = 1_000
MANY_SIGNATURES = 21
NOBODY = bytes(20)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured transaction."""

    group: str
    what: str
    gas: int
    rewards: int = 1
    """How many it pays; its gas is shared by them."""


class Details(Bench):
    """The bench, with more to measure than was promised."""

    def figure(self, group: str, what: str, gas: int, rewards: int = 1) -> Figure:
        """A row."""
        return Figure(group=group, what=what, gas=gas, rewards=rewards)

    def batches(self, group: str, sizes: Sequence[int], credit: Callable[[Sequence[bytes]], int]) -> list[Figure]:
        """Each size twice: to accounts that were never credited, and to the same again."""
        rows = []
        for size in sizes:
            payees = sorted(account(f"{group} {size} {number}") for number in range(size))
            rows += [self.figure(group, f"batch of {size}, {who}", credit(payees), size) for who in ("new", "existing")]
        return rows

    def direct(self) -> list[Figure]:
        """Batches by signatures."""
        sizes = SIZES if self._threshold == THRESHOLD else (1,)
        return self.batches(f"{self._threshold} of {OWNERS} signatures", sizes, self._batch)

    def called(self, signature: str, *values: object, owner: int = 0, value_wei: int = 0) -> int:
        """Gas of a call by an owner."""
        sender = self._senders[owner]
        plan = self._contract.plan(sender, signature, signature, *values, value_wei=value_wei)
        return self._send(owner, plan).gas_used

    def money(self) -> list[Figure]:
        """In and out."""
        group, owner = "deposits and withdrawals", self._owners[1].address
        deposit = self.called("deposit(address)", owner, value_wei=REWARD)
        self._batch([owner])
        part = self.called("withdraw(uint256)", REWARD - 1, owner=1)
        kept = self._batch([owner])
        everything = self.called("withdraw()", owner=1)
        return [
            self.figure(group, "deposit", deposit),
            self.figure(group, "withdraw all but one unit", part),
            self.figure(group, "one reward then, to a slot in use", kept),
            self.figure(group, "withdraw everything", everything),
            self.figure(group, "one reward then, to an empty slot", self._batch([owner])),
        ]

    def roots(self) -> list[Figure]:
        """A commit, and claims from a tree of a thousand."""
        group = f"Merkle tree of {LEAVES:,}"
        payees = [account(f"leaf {number}") for number in range(LEAVES)]
        rows = []
        for cumulative, when in ((REWARD, "first"), (2 * REWARD, "next")):
            leaves = [leaf_hash(payee, cumulative) for payee in payees]
            root, branch = branch_of(leaves, 7)
            total = LEAVES * REWARD
            entries = (Entry(account=payees[7], amount=uint256(total)),)
            action = Action(nonce=self._nonce, epoch=0, kind="root", height=0, root=root, entries=entries)
            gas = self._signed(action, "commitRoot(uint256,bytes32,uint256,bytes)", root, total)
            rows.append(self.figure(group, f"{when} commit", gas, LEAVES))
            gas = self.called("claim(address,uint256,bytes32[])", payees[7], cumulative, branch)
            rows.append(self.figure(group, f"{when} claim of an account", gas))
        return rows

    def compatible_steps(self) -> list[Figure]:
        """The seed's procedure, call by call, and the deployment of a contract that offers it."""
        group = "compatible path"
        addresses = tuple(checksum_address(key.address) for key in self._owners)
        arguments = Arguments(owners=addresses, threshold=THRESHOLD, compatible=True)
        deployed = self._send(0, plan_deployment(self._senders[0], "multisig", arguments))
        before, self._contract = self._contract, self._opened(deployed)
        self.called("deposit(address)", account("depositor"), value_wei=10 * REWARD)
        rows = [self.figure(group, "deploy", deployed.gas_used)]
        payee = account("compatible")
        for value, who in ((1, "warm"), (2, "new"), (3, "existing")):
            to = account("somebody else") if who == "warm" else payee
            steps = [self.called("proposeTransaction(address,uint256)", to, value)]
            index = int.from_bytes(to, "big") << 96 | value
            steps += [self.called("confirmTransaction(uint256)", index, owner=number) for number in range(THRESHOLD)]
            if who != "warm":
                names = ("propose", "first confirm", "second confirm", "third confirm, which pays")
                rows += [self.figure(group, f"{name}, {who} recipient", gas)
                         for name, gas in zip(names, steps, strict=True)]  # fmt: skip
                rows.append(self.figure(group, f"all four, {who} recipient", sum(steps)))
        self._contract = before
        return rows

    def governance(self) -> list[Figure]:
        """Pauses and a rotation to the same owners; last, because it begins an epoch."""
        group = "pauses and rotation"
        paused = self._signed(self._action("pause", paused=True), "setPaused(uint256,bool,bytes)", True)
        going = self._signed(self._action("pause"), "setPaused(uint256,bool,bytes)", False)
        alone = self.called("pauseByOwner()")
        owners = [key.address for key in self._owners]
        action = self._action("rotate", owners=tuple(owners), threshold=THRESHOLD)
        rotated = self._signed(action, "rotateOwners(uint256,address[],uint256,bytes)", owners, THRESHOLD)
        return [
            self.figure(group, "stop by signatures", paused),
            self.figure(group, "set going by signatures", going),
            self.figure(group, "stop by one owner", alone),
            self.figure(group, f"rotate to {OWNERS} owners", rotated),
        ]

    def _action(self, kind: str, **members: Any) -> Action:  # noqa: ANN401 - members of Action
        return Action(nonce=self._nonce, epoch=0, kind=kind, height=0, **members)

    def safe(self) -> list[Figure]:
        """Safe 1.4.1 and PotBook."""
        group = f"Safe 1.4.1, {THRESHOLD} of {OWNERS}"
        singleton = self._created(built("Safe.sol/Safe.json"), b"")
        proxy = self._created(built("proxies/SafeProxy.sol/SafeProxy.json"), encode(["address"], [singleton]))
        setup = "setup(address[],uint256,address,bytes,address,address,uint256,address)"
        owners = [key.address for key in self._owners]
        kinds = setup[len("setup(") : -1].split(",")
        values = [owners, THRESHOLD, NOBODY, b"", NOBODY, NOBODY, 0, NOBODY]
        self._plain(proxy, keccak256(setup.encode())[:4] + encode(kinds, values))
        book = self._send(0, plan_deployment(self._senders[0], "safe-book", Arguments(safe=checksum_address(proxy))))
        assert book.contract is not None
        bound = Contract(scheme="safe", chain_id=self._network.chain_id, address=book.contract, safe=proxy,
                         safe_nonce=0, from_block=0)  # fmt: skip
        interface, count = Interface(SAFE_ABI), 0

        def credit(payees: Sequence[bytes]) -> int:
            nonlocal count
            data = self._contract.artifact.call("deposit(address)", payees[0])
            self._plain(bound.address, data, REWARD * len(payees))
            entries = tuple(Entry(account=payee, amount=uint256(REWARD)) for payee in payees)
            action = Action(nonce=count, epoch=0, kind="batch", height=0, entries=entries)
            digest = action_digest(bound, action)
            signatures = b"".join(key.sign_digest(digest) for key in self._owners[:THRESHOLD])
            call = keccak256(b"credit(uint256,address[],uint256[])")[:4]
            call += encode(["uint256", "address[]", "uint256[]"], [count, list(payees), [REWARD] * len(payees)])
            count += 1
            values = (bound.address, 0, call, 0, 0, 0, 0, NOBODY, NOBODY, signatures)
            return self._plain(proxy, interface.encode("execTransaction", *values))

        credit([account("first")])
        return [self.figure(group, "deploy PotBook", book.gas_used), *self.batches(group, SIZES, credit)]

    def _created(self, code: str, constructor: bytes) -> bytes:
        data = bytes.fromhex(code.removeprefix("0x")) + constructor
        receipt = self._send(0, self._senders[0].plan("deploy", None, data))
        assert receipt.contract is not None
        return receipt.contract

    def _plain(self, to: bytes, data: bytes, value_wei: int = 0) -> int:
        return self._send(0, self._senders[0].plan("call", to, data, value_wei)).gas_used


def account(name: str) -> bytes:
    """Somebody to pay."""
    return keccak256(b"gas " + name.encode())[12:]


def branch_of(level: Sequence[bytes], place: int) -> tuple[bytes, list[bytes]]:
    """Root over the leaves, and the branch of one of them."""
    branch = []
    while len(level) > 1:
        if place ^ 1 < len(level):
            branch.append(level[place ^ 1])
        pairs = [pair_hash(one, other) for one, other in zip(level[::2], level[1::2], strict=False)]
        level = [*pairs, level[-1]] if len(level) % 2 else pairs
        place //= 2
    return level[0], branch


def built(path: str) -> str:
    """Published code of the Safe."""
    return str(json.loads((SAFE_BUILD / path).read_text(encoding="utf-8"))["bytecode"])


def figures() -> list[Figure]:
    """Everything that is not promised, on two fresh chains."""
    with Devnet(find_anvil(), DevnetOptions(port=0)) as chain:
        bench = Details(chain)
        rows = [Figure(group="deployment", what=f"PotSettlement, {OWNERS} owners", gas=bench.deploy_gas)]
        for part in (bench.direct, bench.money, bench.roots, bench.compatible_steps, bench.safe, bench.governance):
            rows += part()
    with Devnet(find_anvil(), DevnetOptions(port=0)) as chain:
        return rows + Details(chain, MANY_SIGNATURES).direct()


def measured() -> dict[str, Any]:
    """What is committed."""
    promised = msgspec.to_builtins(measure(lambda line: None))
    return {"anvil": ANVIL_VERSION, "hardfork": HARDFORK, "promised": promised,
            "figures": msgspec.to_builtins(figures())}  # fmt: skip


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """A line for every figure that is not the same."""
    lines = [] if {**old, "promised": 0, "figures": 0} == {**new, "promised": 0, "figures": 0} else ["anvil or rules"]
    for part in ("promised", "figures"):
        before = {(row.get("group", ""), row["what"]): row for row in old[part]}
        after = {(row.get("group", ""), row["what"]): row for row in new[part]}
        for name in sorted(before.keys() | after.keys()):
            one, other = before.get(name), after.get(name)
            if one != other:
                lines.append(f"{' '.join(name)}: {one and one['gas']} committed, {other and other['gas']} measured")
    return lines


def broken(results: dict[str, Any]) -> list[str]:
    """A line for every promise that does not hold."""
    return [f"{row['what']}: {row['gas']:,}, promised {row['allowed']:,}" for row in results["promised"]
            if row["allowed"] is not None and row["gas"] > row["allowed"]]  # fmt: skip


def main(arguments: list[str]) -> int:
    """Command line."""
    results = measured()
    if "--check" in arguments:
        lines = differences(json.loads(RESULTS.read_text(encoding="utf-8")), results)
        print("\n".join(lines) or "every figure is the committed one")
        return 1 if lines else 0
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for row in results["promised"]:
        print(f"{row['what']:45} {row['seed'] or '':>12} {row['gas']:>12,} {row['allowed'] or '':>12}")
    for row in results["figures"]:
        print(f"{row['group']:30} {row['what']:40} {row['gas']:>12,} {-(-row['gas'] // row['rewards']):>10,}")
    print("\n".join(f"NOT KEPT: {line}" for line in broken(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
