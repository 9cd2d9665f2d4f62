"""Run by `ape test tests_ape` in the environment of eth-ape: its accounts and anvil use the committed artifact."""

from pathlib import Path

import pytest
from ape import reverts
from ape.api import AccountAPI
from ape.contracts import ContractInstance
from ape.managers.accounts import TestAccountManager
from scripts.deploy import container, deploy

from potchain import Action, Contract, Entry, multisig_digest, uint256
from potchain_multisig.operator.deploying import ZERO, Arguments, read_deployment

REWARD = 250


@pytest.fixture
def owners(accounts: TestAccountManager) -> list[AccountAPI]:
    return sorted((accounts[number] for number in range(4)), key=lambda account: bytes.fromhex(account.address[2:]))


@pytest.fixture
def deployed(owners: list[AccountAPI], accounts: TestAccountManager, tmp_path: Path) -> ContractInstance:
    addresses = tuple(owner.address for owner in owners)
    deploy(accounts[5], Arguments(owners=addresses, threshold=3, compatible=True), tmp_path / "deployment.json")
    made = read_deployment(tmp_path / "deployment.json")
    assert (made.deployer, made.arguments.token) == (accounts[5].address, ZERO)
    return container().at(made.address)


def test_the_seeds_procedure(
    deployed: ContractInstance, owners: list[AccountAPI], accounts: TestAccountManager
) -> None:
    payee = accounts[7]
    deployed.deposit(payee, value=REWARD, sender=accounts[5])
    receipt = deployed.proposeTransaction(payee, REWARD, sender=owners[0])
    (proposed,) = receipt.decode_logs(deployed.TransactionProposed)
    for owner in owners[1:]:
        deployed.confirmTransaction(proposed.txIndex, sender=owner)
    assert deployed.rewards(payee) == REWARD
    deployed.withdraw(sender=payee)
    assert deployed.rewards(payee) == 0
    with reverts(deployed.NotOwner):
        deployed.proposeTransaction(payee, REWARD, sender=payee)


def test_the_ledger_and_the_contract_sign_the_same(deployed: ContractInstance, accounts: TestAccountManager) -> None:
    payee = bytes.fromhex(accounts[7].address[2:])
    bound = Contract(
        scheme="multisig",
        chain_id=deployed.provider.chain_id,
        address=bytes.fromhex(deployed.address[2:]),
        safe=bytes(20),
        safe_nonce=0,
        from_block=0,
    )
    action = Action(nonce=0, epoch=0, kind="batch", height=1, entries=(Entry(account=payee, amount=uint256(REWARD)),))
    assert bytes(deployed.batchDigest(0, [accounts[7]], [REWARD])) == multisig_digest(bound, action)
