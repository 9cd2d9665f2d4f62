"""Where a random walk does not get: counters at their ends, a fork with another chain id, the ledger's own roots."""

from __future__ import annotations

import random

import pytest
import rlp
from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env
from settlement_evm import CALL_GAS, At, Interface, Machine, hexed
from settlement_ledger import Books
from settlement_model import branches_of, leaf_of
from settlement_signing import FUNCTIONS, joined, pool
from settlement_solc import artifact

from potchain.application.settlement import records
from potchain.application.settlement.roots import root_claim
from potchain.crypto import keccak256
from potchain.primitives import uint
from potchain.settlement import Action, Contract, multisig_digest
from potchain.settlement.actions import domain_separator

CHAIN_ID = 97
SENDER = keccak256(b"sender")[12:]
OWNERS = sorted(pool())[:4]
ROTATIONS = 300
EPOCH_MAX = 2**16 - 2
EPOCH_SHIFT = 136
"""Where Book.sol keeps the epoch in its word."""
SET_BYTES = 2 + 20 * (len(OWNERS) + 1)
"""Of the code that holds OWNERS; the EVM shows it with zeros behind."""
BOOK_SLOTS = 8
"""The word is in one of the contract's first storage slots."""


@pytest.fixture
def contract() -> At:
    machine = Machine(CHAIN_ID)
    machine.fund(SENDER)
    made = artifact("PotSettlement")
    interface = Interface(made["abi"])
    constructor = interface.constructor(OWNERS, 3, bytes(20), False)
    address, fault = machine.deploy(SENDER, bytes.fromhex(made["bytecode"][2:]) + constructor)
    assert not fault
    return At(machine, interface, address)


def bound(contract: At, chain_id: int = CHAIN_ID) -> Contract:
    return Contract(scheme="multisig", chain_id=chain_id, address=contract.address, safe=bytes(20), safe_nonce=0,
                    from_block=0)  # fmt: skip


def deposit(contract: At, units: int) -> str:
    return contract.send(SENDER, "deposit(address)", SENDER, wei=units).error


def pause(contract: At, nonce: int, epoch: int) -> tuple[str, tuple[object, ...]]:
    action = Action(nonce=nonce, epoch=epoch, kind="pause", height=0)
    signatures = joined(multisig_digest(bound(contract), action), OWNERS[:3])
    done = contract.send(SENDER, FUNCTIONS["pause"], nonce, False, signatures)
    return done.error, done.arguments or done.events[0].values


def made_by(creator: bytes, nonce: int) -> bytes:
    """Address of an account that a contract creates."""
    return keccak256(rlp.encode([creator, nonce]))[12:]


def age(contract: At, epoch: int) -> None:
    """As if the owners had been rotated so often: the counter, the account's nonce, and the set of that epoch."""
    evm, address = contract.machine.evm, hexed(contract.address)
    (slot,) = [slot for slot in range(BOOK_SLOTS) if evm.storage(address, slot) >> EPOCH_SHIFT]
    evm.insert_account_storage(address, slot, evm.storage(address, slot) + (epoch << EPOCH_SHIFT))
    code, owners = evm.basic(address).code, evm.basic(hexed(made_by(contract.address, 1))).code
    assert code is not None
    assert owners is not None
    evm.insert_account_info(address, AccountInfo(nonce=epoch + 2, code=bytes(code)))
    there = hexed(made_by(contract.address, epoch + 1))
    evm.insert_account_info(there, AccountInfo(nonce=1, code=bytes(owners)[:SET_BYTES]))


def rotate(contract: At, nonce: int, epoch: int) -> str:
    action = Action(nonce=nonce, epoch=epoch, kind="rotate", height=0, owners=tuple(OWNERS), threshold=3)
    signatures = joined(multisig_digest(bound(contract), action), OWNERS[:3])
    return contract.send(SENDER, FUNCTIONS["rotate"], nonce, OWNERS, 3, signatures).error


def test_the_last_epoch(contract: At) -> None:
    """Owners can be rotated until the counter is full; the last ones stay in office."""
    assert deposit(contract, 5) == ""
    age(contract, EPOCH_MAX - 1)
    assert (contract.read("epoch()"), contract.read("owners()")) == (EPOCH_MAX - 1, tuple(OWNERS))
    assert rotate(contract, 0, EPOCH_MAX - 1) == ""
    assert (contract.read("epoch()"), contract.read("owners()")) == (EPOCH_MAX, tuple(OWNERS))
    assert rotate(contract, 1, EPOCH_MAX) == "TooManyRotations"
    assert pause(contract, 1, EPOCH_MAX) == ("", (2, 1, False))
    assert (contract.read("deposited()"), contract.read("allocated()")) == (5, 0)


def test_deposits_up_to_the_last_unit(contract: At) -> None:
    assert deposit(contract, 2**96) == "DepositsFull"
    assert deposit(contract, 2**96 - 1) == ""
    assert deposit(contract, 1) == "DepositsFull"
    assert contract.read("deposited()") == 2**96 - 1
    assert (contract.read("allocated()"), contract.read("nextNonce()"), contract.read("nextEventNonce()")) == (0, 0, 1)


def test_rotations_beyond_every_length_of_a_nonce(contract: At) -> None:
    """Owners stay in office after 128 and 256 rotations, where the encoding of a counter grows."""
    for epoch in range(ROTATIONS):
        owners = OWNERS[:3] if epoch % 2 else OWNERS
        others = OWNERS if epoch % 2 else OWNERS[:3]
        action = Action(nonce=epoch, epoch=epoch, kind="rotate", height=0, owners=tuple(others), threshold=2)
        threshold = 3 if epoch == 0 else 2
        signatures = joined(multisig_digest(bound(contract), action), owners[:threshold])
        assert contract.send(SENDER, FUNCTIONS["rotate"], epoch, others, 2, signatures).error == "", epoch
        told = contract.read("epoch()"), contract.read("owners()"), contract.read("threshold()")
        assert told == (epoch + 1, tuple(others), 2)
        assert contract.read("isOwner(address)", others[-1])


def test_a_fork_with_another_chain_id_has_another_domain(contract: At) -> None:
    """The cached separator is not used on a fork (EIP-712, "replay attacks" in its security considerations)."""
    assert contract.read("domainSeparator()") == domain_separator(bound(contract))
    code = contract.machine.evm.basic(hexed(contract.address)).code
    assert code is not None
    environment = Env(cfg=CfgEnv(chain_id=CHAIN_ID + 1), block=BlockEnv(number=1, timestamp=1))
    fork = EVM(env=environment, gas_limit=CALL_GAS, spec_id="CANCUN")
    fork.insert_account_info(hexed(contract.address), AccountInfo(code=bytes(code)))
    selector = contract.interface.calldata("domainSeparator()")
    told = fork.message_call(hexed(SENDER), hexed(contract.address), calldata=selector)
    assert bytes(told) == domain_separator(bound(contract, CHAIN_ID + 1))


def test_the_ledgers_trees_are_those_of_the_contract(contract: At) -> None:
    """Roots that the ledger forms, with growing and new accounts: every account claims exactly what it was promised."""
    dice = random.Random(5)
    books = Books()
    books.bind(contract.address)
    books.set_term("root_min", 1)
    books.set_term("open_max", 1)
    assert deposit(contract, 10**9) == ""
    promised: dict[bytes, int] = {}
    for nonce in range(6):
        for name in dice.sample(("alice", "bob", "carol", "dave"), dice.randint(1, 4)):
            books.withdraw(name, dice.randint(1, 1_000))
        record = records.action(books.state, nonce)
        assert record is not None
        assert record.action.kind == "root"
        for entry in record.action.entries:
            promised[entry.account] = promised.get(entry.account, 0) + uint(entry.amount)
        root, _ = branches_of([leaf_of(*leaf) for leaf in promised.items()])
        assert record.action.root == root
        digest = multisig_digest(bound(contract), record.action)
        arguments = (nonce, root, record.action.total, joined(digest, OWNERS[:3]))
        assert contract.send(SENDER, FUNCTIONS["root"], *arguments).error == ""
        books.sign(nonce)
        books.executed(nonce)
        for account, cumulative in promised.items():
            claim = root_claim(books.state, account)
            assert claim is not None
            assert (claim.root, claim.cumulative) == (root, cumulative)
            done = contract.send(SENDER, "claim(address,uint256,bytes32[])", account, cumulative, list(claim.branch))
            already = account not in {entry.account for entry in record.action.entries}
            assert done.error == ("NothingToClaim" if already else "")
            assert contract.read("rewards(address)", account) == cumulative
    assert len(promised) == 4
    assert contract.read("claimable()") == 0
