"""Wrong settlement contracts, each of which the walk against the model must notice.

A mutant is contracts/src with one rule taken out, compiled by the pinned compiler. It dies when contract and model
differ; a mutant that gets through all seeds of the test survives, and that is a failure. Shipping code gets through.

    python tests/contract_mutants.py                 every mutant, as the table of docs/explanation/mutants.md
    python tests/contract_mutants.py "pays twice"    some of them
    python tests/contract_mutants.py --write         writes that table
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

from settlement_solc import CONTRACTS, Json, artifact, compiled_units
from settlement_walk import SEEDS, STEPS, Mismatch, walk

UNITS = ("PotSettlement.sol", "PotVault.sol", "OwnerSet.sol", "Book.sol")
AT_ONCE = 4
"""Mutants that a compiler gets in one go; more need much memory."""
COMPILERS = 2
"""At work at the same time, beside the walks."""

SETTLEMENT, VAULT, OWNERS, BOOK = UNITS

PAGE = CONTRACTS.parent / "docs" / "explanation" / "mutants.md"
HEAD = ("| mutant | what is wrong | steps |", "|---|---|---|")

ARRIVED = "_recordDeposit(account, asset.balanceOf(address(this)) - before);"
BOOKED = """        unchecked {
            rewards[msg.sender] = held - amount;
        }
"""
PAYMENT = BOOKED + """        emit Withdrawn(msg.sender, amount);
        if (token == address(0)) {
            Address.sendValue(payable(msg.sender), amount);
        } else {
            IERC20(token).safeTransfer(msg.sender, amount);
        }
"""


@dataclass(frozen=True)
class Mutant:
    """One rule taken out: in a source, each `old` (found exactly once) becomes its `new`."""

    name: str
    wrong: str
    """What is wrong with it, for the table."""
    unit: str
    changes: tuple[tuple[str, str], ...]


def _mutant(name: str, wrong: str, unit: str, *texts: str) -> Mutant:
    return Mutant(name, wrong, unit, tuple(zip(texts[::2], texts[1::2], strict=True)))


MUTANTS = (
    _mutant("one signature less", "threshold - 1 signatures are enough", SETTLEMENT,
            "length / SIGNATURE_BYTES < needed", "length / SIGNATURE_BYTES + 1 < needed"),
    _mutant("signer twice", "one owner may sign twice", SETTLEMENT,
            "                cursor += OwnerSet.OWNER_BYTES;\n", ""),
    _mutant("signers in any order", "the order of the signers is not checked", SETTLEMENT,
            "                cursor += OwnerSet.OWNER_BYTES;\n", "                cursor = OwnerSet.start(set);\n"),
    _mutant("anybody signs", "a signer need not be an owner", SETTLEMENT,
            "if (OwnerSet.get(cursor) != key) _refuse", "if (key == 0) _refuse"),
    _mutant("high s", "the malleable twin of a signature is accepted", SETTLEMENT,
            "(signer, reason,) = ECDSA.tryRecover(digest, v, r, s);",
            "(signer, reason) = (ecrecover(digest, v, r, s), ECDSA.RecoverError.NoError);"),
    _mutant("half a signature", "bytes behind the last whole signature are ignored", SETTLEMENT,
            "length % SIGNATURE_BYTES != 0 || ", "", "offset < length;", "offset + SIGNATURE_BYTES <= length;"),
    _mutant("no domain", "what is signed names neither chain nor contract", SETTLEMENT,
            "bytes32 digest = _digest(structHash);",
            'bytes32 digest = keccak256(abi.encodePacked(hex"1901", structHash));'),
    _mutant("no chain", "what is signed for one chain is good on every chain", SETTLEMENT,
            "DOMAIN_VERSION, block.chainid, address(this)", "DOMAIN_VERSION, uint256(1), address(this)"),
    _mutant("no contract", "what is signed for one contract is good for its twin", SETTLEMENT,
            "DOMAIN_VERSION, block.chainid, address(this)", "DOMAIN_VERSION, block.chainid, address(0)"),
    _mutant("no epoch", "batches, roots and rotations that former owners signed stay valid", SETTLEMENT,
            "abi.encode(typeHash, nonce, book.epoch(), content", "abi.encode(typeHash, nonce, uint256(0), content"),
    _mutant("no epoch in a pause", "a pause that former owners signed stays valid", SETTLEMENT,
            "SET_PAUSED, nonce, book.epoch()", "SET_PAUSED, nonce, uint256(0)"),
    _mutant("no nonce", "what was signed for one nonce is good for any", SETTLEMENT,
            "abi.encode(typeHash, nonce, book.epoch()", "abi.encode(typeHash, uint256(0), book.epoch()"),
    _mutant("no nonce in a pause", "a signed pause can be sent again", SETTLEMENT,
            "SET_PAUSED, nonce, book.epoch()", "SET_PAUSED, uint256(0), book.epoch()"),
    _mutant("amounts not signed", "a relayer chooses the amounts of a batch", SETTLEMENT,
            "keccak256(abi.encode(to, amount)), total", "keccak256(abi.encode(to)), uint256(0)"),
    _mutant("total not signed", "a relayer chooses the total of a root", SETTLEMENT,
            "_structHash(MERKLE_COMMIT, book, nonce, root, total)", "_structHash(MERKLE_COMMIT, book, nonce, root, 0)"),
    _mutant("epoch stands still", "a rotation does not begin an epoch", BOOK,
            "Book.unwrap(book) + ONE_EPOCH", "Book.unwrap(book)"),
    _mutant("rotation ends a pause", "a rotation sets a stopped contract going", SETTLEMENT,
            "_book = book.withRotation().withAction();", "_book = book.withRotation().withAction().withPause(0);"),
    _mutant("threshold above owners", "a threshold that nobody can reach is accepted", OWNERS,
            "threshold > count)", "threshold > count + 1)"),
    _mutant("threshold truncated", "a threshold is checked after it was cut to a byte", OWNERS,
            "if (threshold == 0 || threshold > count)", "if (uint8(threshold) == 0 || uint8(threshold) > count)"),
    _mutant("owner twice", "one address holds two seats", OWNERS,
            "if (owner <= previous) revert", "if (owner < previous) revert"),
    _mutant("owners in any order", "owners need not be in order, so that they are not found", OWNERS,
            "if (owner <= previous) revert OwnersNotAscending(previous, owner);", ""),
    _mutant("owner itself", "the contract may own itself", OWNERS,
            "if (owner == address(this)) revert SelfOwner(owner);", ""),
    _mutant("rotation number 128", "the encoding of a counter is wrong where it grows", OWNERS,
            "if (nonce >= 0x80 && nonce < 0x100) {", "if (nonce >= 0x81 && nonce < 0x100) {"),
    _mutant("owners not found", "the search for an owner stops one too early", OWNERS,
            "for {} lt(mload(cursor), key) {", "for {} lt(mload(add(cursor, 20)), key) {"),
    _mutant("last address", "the end mark of every set passes for an owner", SETTLEMENT,
            "if (uint160(account) == type(uint160).max) return false;", ""),
    _mutant("batch while paused", "a pause does not stop batches", SETTLEMENT,
            "        _requireNotPaused(book);\n        uint256 total", "        uint256 total"),
    _mutant("pause ends late", "the last second of a pause is off by one", VAULT,
            "if (block.timestamp < book.pausedUntil()) revert", "if (block.timestamp <= book.pausedUntil()) revert"),
    _mutant("pause without rest", "one owner can stop the contract again and again", SETTLEMENT,
            "if (block.timestamp < from) revert OwnerPauseUsed(msg.sender, from);", "from;"),
    _mutant("pause prolonged", "an owner can stop a contract that is stopped", SETTLEMENT,
            "_requireNotPaused(book);\n        _ownerIndex(", "_ownerIndex("),
    _mutant("pause by anybody", "who stops the contract need not be an owner", SETTLEMENT,
            "_ownerIndex(OwnerSet.load(book.epoch()));\n        uint256 from", "uint256 from"),
    _mutant("pause of withdrawals", "a pause stops withdrawals, too", VAULT,
            "function withdraw() external nonReentrant {", "function withdraw() external whenNotPaused nonReentrant {"),
    _mutant("confirmed twice", "one owner confirms a payment as often as it likes", SETTLEMENT,
            "if (payment & mask != 0) revert AlreadyConfirmed(txIndex, msg.sender);", ""),
    _mutant("confirmations outlive a rotation", "former owners' confirmations count", SETTLEMENT,
            "if (uint32(payment >> EPOCH_SHIFT) != epoch_) payment", "if (epoch_ > type(uint32).max) payment"),
    _mutant("payment again", "a payment that was made is not marked", SETTLEMENT,
            "_payments[txIndex] = payment | EXECUTED;", "_payments[txIndex] = payment;"),
    _mutant("payment while paused", "the last confirmation pays during a pause", SETTLEMENT,
            " || block.timestamp < book.pausedUntil()", ""),
    _mutant("payment without money", "the last confirmation is refused when deposits are short", SETTLEMENT,
            "\n                || uint96(txIndex) > book.available()", ""),
    _mutant("payment one early", "a payment needs one confirmation less", SETTLEMENT,
            "_confirmations(payment) < OwnerSet", "_confirmations(payment) + 1 < OwnerSet"),
    _mutant("payment unconfirmed", "executeTransaction does not count", SETTLEMENT,
            "if (confirmations < needed) revert NotConfirmed(txIndex, confirmations, needed);", ""),
    _mutant("nonce stands still", "an action can be executed again", BOOK,
            "(ONE_NONCE + ONE_EVENT)", "ONE_EVENT"),
    _mutant("nonce may skip", "an action may come before its time", VAULT,
            "if (nonce != book.nextNonce())", "if (nonce < book.nextNonce())"),
    _mutant("gap in the event nonces", "deposits do not count", BOOK, "amount + ONE_EVENT", "amount"),
    _mutant("beyond the deposits", "what is promised already is promised again", VAULT,
            "if (total > book.available()) revert", "if (total > deposited) revert",
            "internal pure returns (Book) {", "internal view returns (Book) {"),
    _mutant("one unit beyond", "a batch may exceed the deposits by one unit", VAULT,
            "if (total > book.available()) revert", "if (total > book.available() + 1) revert"),
    _mutant("promises forgotten", "what a batch promises is not kept account of", BOOK,
            "Book.unwrap(book) - total", "Book.unwrap(book) - (total & 1)"),
    _mutant("501 entries", "a batch may be longer than documented", VAULT,
            "entries > MAX_ENTRIES)", "entries > MAX_ENTRIES + 1)"),
    _mutant("nothing for nobody", "a batch may pay the zero address", VAULT,
            "if (account == address(0)) revert ZeroAddress();\n            if (value == 0)", "if (value == 0)"),
    _mutant("sum wraps", "a batch's sum wraps, and pays more than its total", VAULT,
            "            total += value;", "            unchecked { total += value; }"),
    _mutant("credit overwrites", "a second credit replaces the first", VAULT,
            "rewards[account] += amount;", "rewards[account] = amount;"),
    _mutant("pays twice", "a withdrawal leaves the reward standing", VAULT,
            "rewards[msg.sender] = held - amount;", "rewards[msg.sender] = held;"),
    _mutant("pays before it writes", "no guard, and the books are written after the payment", VAULT,
            "function withdraw() external nonReentrant {", "function withdraw() external {",
            "function withdraw(uint256 amount) external nonReentrant {", "function withdraw(uint256 amount) external {",
            PAYMENT, PAYMENT.removeprefix(BOOKED) + BOOKED),
    _mutant("deposit in a deposit", "a token that calls back can deposit the same units twice", VAULT,
            "uint256 amount) external nonReentrant whenNotPaused", "uint256 amount) external whenNotPaused"),
    _mutant("deposit as asked", "a deposit counts what was asked for, not what arrived", VAULT,
            ARRIVED, "before; _recordDeposit(account, amount);"),
    _mutant("false is true", "what a token's transferFrom returns is ignored", VAULT,
            "asset.safeTransferFrom(msg.sender, address(this), amount);",
            "try asset.transferFrom(msg.sender, address(this), amount) {} catch {}",
            ARRIVED, "before; _recordDeposit(account, amount);"),
    _mutant("deposits overflow", "the sum of deposits runs out of its 96 bits", VAULT,
            "amount > type(uint96).max - sum", "amount > type(uint96).max"),
    _mutant("claim without a branch", "a leaf need not be in the tree", VAULT,
            "if (!MerkleProof.verifyCalldata(proof, committedRoot, leaf)) revert BadProof(account, cumulative);",
            "leaf; proof;"),
    _mutant("claim again", "a claim is not remembered", VAULT, "claimed[account] = cumulative;", ""),
    _mutant("claim all over", "a claim credits the whole leaf, not the increase", VAULT,
            "rewards[account] += increase;", "rewards[account] += cumulative;"),
    _mutant("claim beyond the total", "a tree may promise more than was signed", VAULT,
            "if (increase > remaining) revert ExceedsCommitted(increase, remaining);", ""),
    _mutant("claims take nothing", "what was claimed stays claimable", VAULT,
            "claimable = remaining - increase;", ""),
    _mutant("root forgets", "a new root forgets what the last one still owes", VAULT,
            "claimable += total;", "claimable = total;"),
    _mutant("leaf hashed once", "an inner node of the tree could pass for a leaf", VAULT,
            "keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))))",
            "keccak256(abi.encode(account, cumulative))"),
)  # fmt: skip


def sources(mutant: Mutant) -> dict[str, str]:
    """Its sources by unit. A text that is not found exactly once raises ValueError."""
    found = {unit: (CONTRACTS / "src" / unit).read_text(encoding="utf-8") for unit in UNITS}
    for old, new in mutant.changes:
        count = found[mutant.unit].count(old)
        if count != 1:
            raise ValueError(f"{mutant.name}: {old!r} is {count} times in {mutant.unit}")
        found[mutant.unit] = found[mutant.unit].replace(old, new)
    return found


def compiled_mutants(mutants: Sequence[Mutant]) -> list[Json]:
    """Their code, in order; plainly compiled, because the optimiser takes three times as long."""
    settings = {**artifact("PotSettlement")["settings"], "viaIR": False, "optimizer": {"enabled": False}}
    units = {f"m{at}/{unit}": text for at, mutant in enumerate(mutants) for unit, text in sources(mutant).items()}
    made = compiled_units(units, settings, "PotSettlement")
    return [made[f"m{at}/{SETTLEMENT}"]["PotSettlement"] for at in range(len(mutants))]


def killed(code: Json) -> tuple[int, str] | None:
    """Steps until the walk notices (a deployment is one), and what; None for a survivor."""
    steps = 0
    for seed in SEEDS:
        try:
            steps += 1 + walk(seed, STEPS, Counter(), code)
        except Mismatch as fault:
            return steps + 1 + fault.step, str(fault)
    return None


def main() -> int:
    """Command line; code 1 when a mutant survives."""
    parser = argparse.ArgumentParser(description="Wrong settlement contracts, and what notices them.")
    parser.add_argument("--why", action="store_true", help="say how each was noticed")
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants; all of them when none is given")
    words = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not words.names or mutant.name in words.names]
    survivors, rows = 0, list(HEAD)
    print("\n".join(HEAD))
    groups = [chosen[first : first + AT_ONCE] for first in range(0, len(chosen), AT_ONCE)]
    with ThreadPoolExecutor(COMPILERS) as compilers:
        compiled = chain.from_iterable(compilers.map(compiled_mutants, groups))
        for mutant, code in zip(chosen, compiled, strict=True):
            found = killed(code)
            survivors += found is None
            rows.append(f"| {mutant.name} | {mutant.wrong} | {f'{found[0]:,}' if found else 'SURVIVES'} |")
            print(rows[-1], flush=True)
            if words.why and found:
                print(f"  {found[1]}")
    if words.write and len(chosen) == len(MUTANTS):
        text = PAGE.read_text(encoding="utf-8")
        old = text.partition("\n".join(HEAD))[2].partition("\n\n")[0]
        PAGE.write_text(text.replace("\n".join(HEAD) + old, "\n".join(rows)), encoding="utf-8")
    print(f"\n{len(chosen) - survivors} of {len(chosen)} mutants were noticed", file=sys.stderr)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
