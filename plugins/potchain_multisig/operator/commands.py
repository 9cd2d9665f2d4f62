"""`potchain contract`: the group, and the commands before there is a contract: a chain, wallets, funds, deployment."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType

import click
import msgspec

from potchain import ConfigError, checksum_address, parse_address
from potchain.commands import (
    ADDRESS,
    EXIT_FAILED,
    EXIT_OK,
    HASH,
    aligned,
    emit,
    json_option,
    password_from,
    password_option,
)
from potchain_multisig.operator import audit_command, payee_commands, use_commands
from potchain_multisig.operator.accounts import owner_set, read_addresses
from potchain_multisig.operator.deploying import (
    KINDS,
    ZERO,
    Arguments,
    Kind,
    plan_deployment,
    record_of,
    require_creation,
    write_deployment,
)
from potchain_multisig.operator.devnet import ACCOUNTS_MAX, CHAIN_ID, HARDFORK, PORT
from potchain_multisig.operator.sending import balance_of, coins
from potchain_multisig.operator.session import (
    COINS,
    DEPLOYMENT_FILE,
    NetworkChoice,
    SendingChoice,
    network_options,
    planned_document,
    planned_lines,
    say,
    sending_options,
)
from potchain_multisig.operator.wallets import WALLETS_MAX, create_wallets

FUNDED_MAX = 1_000
WATCH_S = 0.5


@click.group()
def contract() -> None:
    """The settlement contract on an EVM chain: wallets, funds, deployment, payments, and a local chain.

    \b
    Example:
      potchain contract devnet
      potchain contract wallets --count 30 --out owners
    """


@contract.command()
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--chain-id", default=CHAIN_ID, show_default=True, type=click.IntRange(1, 2**53 - 1), help="EIP-155.")
@click.option("--block-time", default=0, show_default=True, type=click.IntRange(0, 3600),
              help="Seconds between blocks; 0: a block for each transaction, at once.")
@click.option("--accounts", default=10, show_default=True, type=click.IntRange(1, ACCOUNTS_MAX),
              help="Accounts with 10,000 coins whose keys everybody knows.")
@click.option("--fund", multiple=True, help="Keystore, folder of keystores or address to give coins to; many times.")
@click.option("--balance", default="10000ether", show_default=True, type=COINS, help="Of each --fund.")
@click.option("--hardfork", default=HARDFORK, show_default=True, help="Rules of the chain.")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path),
              help="File that keeps the chain from one run to the next.")
@click.option("--install", is_flag=True, help="Fetch anvil with npm into the cache folder of this user, and end.")
@json_option
def devnet(port: int, chain_id: int, block_time: int, accounts: int, fund: tuple[str, ...], balance: int,
           hardfork: str, state: Path | None, install: bool, as_json: bool) -> int:
    """A chain on this machine (anvil), in the foreground; Ctrl-C or SIGTERM ends it.

    \b
    Example:
      potchain contract devnet --install
      potchain contract devnet --fund funder.json
    """
    from potchain_multisig.operator import devnet as room

    if install:
        binary = room.install(say)
        emit({"anvil": str(binary)}, as_json, [f"anvil {room.ANVIL_VERSION} is at {binary}"])
        return EXIT_OK
    funded = read_addresses(fund)
    options = room.DevnetOptions(
        port=port, chain_id=chain_id, block_time_s=block_time, accounts=accounts, hardfork=hardfork, state=state
    )
    # Not threading.Event: its lock may be held by the very code that a signal interrupts, and both would wait for ever.
    told: SimpleQueue[int] = SimpleQueue()

    def told_to_stop(number: int, frame: FrameType | None) -> None:
        told.put(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, told_to_stop)
    with room.Devnet(room.find_anvil(), options) as chain:
        for address in funded:
            chain.give(checksum_address(address), balance)
        known = chain.call("eth_accounts")
        listed = [checksum_address(parse_address(str(each))) for each in known] if isinstance(known, list) else []
        given = [checksum_address(address) for address in funded]
        document = {"url": chain.url, "chain_id": chain_id, "pid": chain.pid, "funded": given, "accounts": listed}
        lines = aligned([("URL", chain.url), ("chain id", chain_id)])
        lines += [f"{address}  {coins(balance)} coins" for address in given]
        lines += [f"{address}  10,000 coins (everybody knows its key)" for address in listed]
        emit(document, as_json, lines)
        while chain.exit_code() is None:
            with suppress(Empty):
                told.get(timeout=WATCH_S)
                return EXIT_OK
        say(f"anvil ended with code {chain.exit_code()}: {chain.complaint()}")
    return EXIT_FAILED


@contract.command()
@click.option("--count", default=30, show_default=True, type=click.IntRange(1, WALLETS_MAX), help="Wallets.")
@click.option("--out", "folder", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option("--weak", is_flag=True,
              help="Few rounds of key derivation, at once instead of a second each: for wallets without value.")
@password_option
@json_option
def wallets(count: int, folder: Path, weak: bool, password_file: Path | None, as_json: bool) -> None:
    """Make keys and write each, encrypted, to a Web3 V3 keystore of a new folder.

    \b
    Example:
      potchain contract wallets --count 30 --out owners --password-file owners.password
    """
    made = create_wallets(folder, count, password_from(password_file, confirm=True), weak=weak, say=say)
    rows = [(checksum_address(wallet.address), str(wallet.path)) for wallet in made]
    document = {
        "folder": str(folder), "wallets": [{"address": address, "file": path} for address, path in rows]
    }  # fmt: skip
    emit(document, as_json, aligned(rows))


@contract.command()
@click.option("--to", "targets", multiple=True, required=True,
              help="Folder of keystores, keystore, file with an address a line, or addresses; many times.")
@click.option("--amount", required=True, type=COINS, help="What each shall hold; who holds as much gets nothing.")
@network_options
@sending_options("--from", "Web3 V3 keystore that pays.")
@json_option
def fund(targets: tuple[str, ...], amount: int, at: NetworkChoice, sending: SendingChoice, as_json: bool) -> None:
    """Bring accounts up to an amount of the chain's coins, to pay gas with. Repeating it sends nothing twice.

    \b
    Example:
      potchain contract fund --from funder.json --to owners --amount 0.05ether --network bsc:testnet
    """
    addresses = tuple(dict.fromkeys(read_addresses(targets)))
    if len(addresses) > FUNDED_MAX:
        raise ConfigError(f"{len(addresses)} addresses; one command funds at most {FUNDED_MAX}")
    network = at.open()
    sender = sending.sender(network)
    plans, funded = [], []
    for address in addresses:
        lacking = amount - balance_of(network, address)
        if lacking > 0 and address != sender.address:
            what = f"send {coins(lacking)} to {checksum_address(address)}"
            plans.append(sender.plan(what, address, value_wei=lacking))
            funded.append(address)
    if sending.dry(network):
        emit(planned_document(network, sender, plans), as_json, planned_lines(network, sender, plans))
        return
    receipts = sending.carry_out(sender, plans)
    document = {
        "network": network.name,
        "chain_id": network.chain_id,
        "from": checksum_address(sender.address),
        "funded": [
            {"to": checksum_address(address), "sent": str(plan.value_wei), "transaction": receipt.transaction_hash}
            for address, plan, receipt in zip(funded, plans, receipts, strict=True)
        ],
        "unchanged": len(addresses) - len(plans),
        "total": str(sum(plan.value_wei for plan in plans)),
    }
    total = coins(sum(plan.value_wei for plan in plans))
    lines = aligned([("accounts", len(addresses)), ("funded", len(plans)), ("sent", f"{total} in all"),
                     ("each holds at least", coins(amount))])  # fmt: skip
    emit(document, as_json, lines)


@contract.command()
@click.option("--owners", multiple=True,
              help="Folder of keystores, keystore, file with an address a line, or addresses; many times.")
@click.option("--threshold", type=click.IntRange(min=1), help="Signatures needed.")
@click.option("--token", type=ADDRESS, help="ERC-20 token to keep [default: the chain's own coin].")
@click.option("--compatible", is_flag=True, help="Open the path propose, confirm, execute of one payment at a time.")
@click.option("--kind", default="multisig", show_default=True, type=click.Choice(list(KINDS)),
              help="safe-book: a book that a Safe owns, instead of owners of its own.")
@click.option("--safe", type=ADDRESS, help="With --kind safe-book: the Safe.")
@click.option("--out", default=DEPLOYMENT_FILE, show_default=True, type=click.Path(dir_okay=False, path_type=Path),
              help="Deployment file to write.")
@click.option("--transaction", type=HASH,
              help="Take up a deployment that was sent before: send nothing, wait for it, check, and write the file.")
@network_options
@sending_options()
@json_option
def deploy(owners: tuple[str, ...], threshold: int | None, token: bytes | None, compatible: bool, kind: Kind,
           safe: bytes | None, out: Path, transaction: str | None, at: NetworkChoice, sending: SendingChoice,
           as_json: bool) -> None:
    """Create the contract, check the code that came of it, and write a deployment file.

    \b
    Example:
      potchain contract deploy --owners owners --threshold 21 --network bsc:testnet --key funder.json
    """
    arguments = _arguments(owners, threshold, token, compatible, kind, safe)
    if out.exists():
        raise ConfigError(f"{out} is there already; choose another name with --out")
    network = at.open()
    sender = sending.sender(network)
    if transaction is not None:
        require_creation(network, transaction, sender.address, kind, arguments)
        receipt = sender.wait(transaction, sending.confirmations, sending.timeout, "deploy")
    else:
        plan = plan_deployment(sender, kind, arguments)
        if sending.dry(network):
            emit(planned_document(network, sender, [plan]), as_json, planned_lines(network, sender, [plan]))
            return
        (receipt,) = sending.carry_out(sender, [plan])
    deployment = record_of(network, sender.address, kind, arguments, receipt)
    write_deployment(out, deployment)
    shown = [("contract", f"{deployment.contract} at {deployment.address}"),
             ("network", f"{network.name}, chain id {network.chain_id}"),
             ("block", deployment.block_number), ("transaction", deployment.transaction_hash),
             ("gas used", f"{deployment.gas_used:,}"), ("artifact", deployment.artifact_hash)]  # fmt: skip
    if kind == "multisig":
        shown.insert(1, ("owners", f"{len(arguments.owners)}, of which {arguments.threshold} must sign"))
    shown.append(("written to", str(out)))
    emit(msgspec.to_builtins(deployment), as_json, aligned(shown))


def _arguments(owners: tuple[str, ...], threshold: int | None, token: bytes | None, compatible: bool, kind: Kind,
               safe: bytes | None) -> Arguments:
    kept = ZERO if token is None else checksum_address(token)
    if kind == "safe-book":
        if safe is None or owners or threshold is not None or compatible:
            raise click.UsageError("--kind safe-book takes --safe, and neither --owners, --threshold nor --compatible")
        return Arguments(safe=checksum_address(safe), token=kept)
    if safe is not None or not owners or threshold is None:
        raise click.UsageError("--kind multisig takes --owners and --threshold, and no --safe")
    chosen = owner_set(owners, threshold, compatible=compatible)
    listed = tuple(checksum_address(owner) for owner in chosen)
    return Arguments(owners=listed, threshold=threshold, token=kept, compatible=compatible)


use_commands.add_to(contract)
payee_commands.add_to(contract)
audit_command.add_to(contract)
