"""Brings accounts up to an amount of the chain's coins with eth-ape: `potchain contract fund` with ape's accounts.

    ape run fund --network bsc:testnet --account funder --to owners --amount "0.05 ether"
"""

import click
from ape import convert
from ape.api import AccountAPI
from ape.cli import ConnectedProviderCommand, account_option

from potchain import ConfigError, checksum_address
from potchain_multisig.operator.accounts import read_addresses


@click.command(cls=ConnectedProviderCommand)
@account_option()
@click.option("--to", "targets", multiple=True, required=True,
              help="Folder of keystores, file of addresses, or addresses.")
@click.option("--amount", required=True, help="What each shall hold, such as \"0.05 ether\".")
def cli(account: AccountAPI, targets: tuple[str, ...], amount: str) -> None:
    """Send what is lacking; running it again sends nothing twice."""
    wanted = convert(amount, int)
    try:
        addresses = [checksum_address(address) for address in dict.fromkeys(read_addresses(targets))]
    except ConfigError as fault:
        raise click.ClickException(str(fault)) from None
    lacking = {address: wanted - account.provider.get_balance(address) for address in addresses}
    sent = {address: value for address, value in lacking.items() if value > 0}
    total = sum(sent.values())
    if total >= account.balance:
        raise click.ClickException(f"{account.address} holds {account.balance} wei; {total} and gas are to be sent")
    for address, value in sent.items():
        account.transfer(address, value)
    click.echo(f"{len(addresses)} accounts: {len(sent)} were funded, with {total} wei in all")
