"""Deploys PotSettlement with eth-ape: its networks, providers and accounts, and potchain's checks and deployment file.

    ape run deploy --network bsc:testnet --account funder --owners owners --threshold 21

The committed artifact is what is deployed, nothing is compiled. What comes of it is the deployment file that
`potchain contract` and `potchain gov` read.
"""

import json
from importlib.resources import files
from pathlib import Path

import click
from ape.api import AccountAPI
from ape.cli import ConnectedProviderCommand, account_option
from ape.contracts import ContractContainer
from eth_utils import to_checksum_address
from ethpm_types import ContractType

from potchain import ConfigError, SettlementError, checksum_address
from potchain_multisig.operator.accounts import owner_set
from potchain_multisig.operator.artifact import load_artifact
from potchain_multisig.operator.deploying import ZERO, Arguments, described, write_deployment
from potchain_multisig.operator.sending import Receipt


def container() -> ContractContainer:
    """The committed artifact as ape has contracts."""
    built = json.loads((files("potchain_multisig") / "artifacts" / "PotSettlement.json").read_bytes())
    return ContractContainer(
        contract_type=ContractType.model_validate(
            {
                "contractName": built["contract"],
                "abi": built["abi"],
                "deploymentBytecode": {"bytecode": built["bytecode"]},
                "runtimeBytecode": {"bytecode": built["deployedBytecode"]},
            }
        )
    )


@click.command(cls=ConnectedProviderCommand)
@account_option()
@click.option("--owners", multiple=True, required=True, help="Folder of keystores, file of addresses, or addresses.")
@click.option("--threshold", required=True, type=click.IntRange(min=1), help="Signatures needed.")
@click.option("--token", default=ZERO, help="ERC-20 token to keep; by default the chain's own coin.")
@click.option("--compatible", is_flag=True, help="Open the path propose, confirm, execute of one payment at a time.")
@click.option("--out", default="deployment.json", type=click.Path(dir_okay=False, path_type=Path),
              help="Deployment file to write.")
def cli(account: AccountAPI, owners: tuple[str, ...], threshold: int, token: str, compatible: bool, out: Path) -> None:
    """Create the contract, check its code, write the deployment file."""
    try:
        deploy(account, Arguments(
            owners=tuple(checksum_address(owner) for owner in owner_set(owners, threshold, compatible=compatible)),
            threshold=threshold,
            token=to_checksum_address(token),
            compatible=compatible,
        ), out)  # fmt: skip
    except (ConfigError, SettlementError) as fault:
        raise click.ClickException(str(fault)) from None


def deploy(account: AccountAPI, arguments: Arguments, out: Path) -> None:
    """Raises ConfigError when `out` is there, SettlementError when other code than ours comes of it."""
    if out.exists():
        raise ConfigError(f"{out} is there already; choose another name with --out")
    provider = account.provider
    contract = account.deploy(
        container(), list(arguments.owners), arguments.threshold, arguments.token, arguments.compatible
    )
    mined = contract.creation_metadata.receipt
    if not load_artifact("PotSettlement").is_code(bytes(provider.get_code(contract.address))):
        raise SettlementError("wrong_contract", f"the code at {contract.address} is not ours")
    receipt = Receipt(
        transaction_hash=mined.txn_hash,
        block_number=mined.block_number,
        block_hash="0x" + bytes(mined.block.hash).hex(),
        gas_used=mined.gas_used,
        cost_wei=mined.total_fees_paid,
        contract=bytes.fromhex(contract.address[2:]),
        logs=(),
    )
    name = f"{provider.network.ecosystem.name}:{provider.network.name}"
    deployer = bytes.fromhex(account.address[2:])
    write_deployment(out, described(name, provider.chain_id, deployer, "multisig", arguments, receipt))
    click.echo(f"PotSettlement at {contract.address}, block {mined.block_number}; written to {out}")
