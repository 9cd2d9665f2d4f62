"""What the commands share: their options, and one way to open a chain, say what would be sent, send it and wait.

A command that sends first plans everything. On a chain whose coins have a value it stops there unless --broadcast is
given, and needs no password; elsewhere it goes on unless --dry-run is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from potchain import SettlementError, checksum_address
from potchain.commands import (
    ADDRESS,
    FILE,
    account_file_address,
    load_account_key,
    password_from,
    password_option,
)
from potchain_multisig.operator.artifact import Artifact
from potchain_multisig.operator.calling import DeployedContract
from potchain_multisig.operator.deploying import Deployment, Kind, read_deployment
from potchain_multisig.operator.network import (
    COIN,
    GWEI,
    LOCAL,
    NETWORK_VARIABLE,
    RPC_VARIABLE,
    FeeOptions,
    FeeStrategy,
    Network,
    connect,
)
from potchain_multisig.operator.sending import TIMEOUT_S, Plan, Receipt, Sender, carry_out, coins

F = TypeVar("F", bound=Callable[..., Any])

DEPLOYMENT_FILE: Final = "deployment.json"
_UNITS = {"": 1, "wei": 1, "gwei": GWEI, "ether": COIN}
_AMOUNT = re.compile(r"([0-9_]+(?:\.[0-9]+)?)\s*([a-z]*)")
UINT256_MAX: Final = 2**256 - 1


class AmountType(click.ParamType):  # type: ignore[type-arg]
    """Base units, or a number with a unit of 18 decimals: 10000000, 0.5ether, 3gwei."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Base units."""
        if isinstance(value, int):
            return value
        match = _AMOUNT.fullmatch(str(value).strip())
        try:
            if match is None or match[2] not in _UNITS:
                raise InvalidOperation
            amount = Decimal(match[1].replace("_", "")) * _UNITS[match[2]]
        except InvalidOperation:
            self.fail(f"{value!r} is no amount; examples: 10000000 (base units), 3gwei, 0.5ether", param, ctx)
        if amount != int(amount) or int(amount) > UINT256_MAX:
            self.fail(f"{value!r} is no whole number of base units below 2^256", param, ctx)
        return int(amount)


class IndexType(click.ParamType):  # type: ignore[type-arg]
    """Index of a payment, in decimal or 0x form."""

    name = "index"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """A uint256."""
        try:
            index = value if isinstance(value, int) else int(str(value), 0)
        except ValueError:
            index = -1
        if not 0 <= index <= UINT256_MAX:
            self.fail(f"{value!r} is no index of a payment: `potchain contract propose` prints it", param, ctx)
        return index


COINS = AmountType()
INDEX = IndexType()


class NetworkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """--network and --rpc."""

    network: str
    rpc: str | None

    def open(self) -> Network:
        """Raises SettlementError as `connect`."""
        return connect(self.network, self.rpc)


class ContractChoice(msgspec.Struct, frozen=True, kw_only=True):
    """--contract, --kind and --deployment."""

    contract: bytes | None
    kind: Kind | None
    deployment: Path

    def open(self, network: Network) -> tuple[DeployedContract, Deployment | None]:
        """The contract, and its deployment file unless an address was given.

        Raises ConfigError, and SettlementError(`wrong_chain` or `wrong_contract`).
        """
        if self.contract is not None:
            return DeployedContract(network, self.contract, self.kind or "multisig"), None
        deployment = read_deployment(self.deployment)
        if deployment.chain_id != network.chain_id:
            raise SettlementError(
                "wrong_chain",
                f"{self.deployment} is of chain id {deployment.chain_id} ({deployment.network}), and {network.name} "
                f"is {network.chain_id}; choose with --network",
            )
        address = bytes.fromhex(deployment.address.removeprefix("0x"))
        return DeployedContract(network, address, deployment.kind), deployment


class SendingChoice(msgspec.Struct, frozen=True, kw_only=True):
    """--key and everything about sending."""

    key: Path
    password_file: Path | None
    fee_strategy: FeeStrategy
    fee_cap: int | None
    broadcast: bool | None
    confirmations: int
    timeout: float

    def sender(self, network: Network) -> Sender:
        """The account of --key; decrypted only if something will be sent."""
        fees = FeeOptions(strategy=self.fee_strategy, cap_wei=self.fee_cap)
        if self.dry(network):
            return Sender(network, account_file_address(self.key), None, fees, say)
        key = load_account_key(self.key, password_from(self.password_file))
        return Sender(network, key.address, key, fees, say)

    def dry(self, network: Network) -> bool:
        """Whether nothing shall be sent."""
        return network.has_value if self.broadcast is None else not self.broadcast

    def carry_out(
        self, sender: Sender, plans: Sequence[Plan], artifact: Artifact | None = None
    ) -> tuple[Receipt, ...]:
        """Send all, wait for all. Raises SettlementError as `Sender`."""
        return carry_out(sender, plans, self.confirmations, self.timeout, say, artifact=artifact)


def network_options(command: F) -> F:
    """--network, --rpc; the command gets `at: NetworkChoice`."""

    @click.option("--network", default=LOCAL, show_default=True, envvar=NETWORK_VARIABLE,
                  help="ecosystem:network as eth-ape names it, such as bsc:testnet, or the URL of an RPC endpoint.")
    @click.option("--rpc", envvar=RPC_VARIABLE, help="URL of the RPC endpoint of a named network.")
    @wraps(command)
    def wrapped(*args: Any, network: str, rpc: str | None, **rest: Any) -> Any:  # noqa: ANN401 - click's
        return command(*args, at=NetworkChoice(network=network, rpc=rpc), **rest)

    return wrapped  # type: ignore[return-value]


def contract_options(command: F) -> F:
    """--deployment, --contract, --kind; the command gets `chosen: ContractChoice`."""

    @click.option("--deployment", default=DEPLOYMENT_FILE, show_default=True, envvar="POTCHAIN_DEPLOYMENT",
                  type=click.Path(dir_okay=False, path_type=Path), help="Deployment file of the contract.")
    @click.option("--contract", type=ADDRESS, help="Address of the contract, instead of a deployment file.")
    @click.option("--kind", type=click.Choice(["multisig", "safe-book"]),
                  help="With --contract: what is there [default: multisig].")
    @wraps(command)
    def wrapped(*args: Any, deployment: Path, contract: bytes | None, kind: Kind | None, **rest: Any) -> Any:  # noqa: ANN401
        return command(*args, chosen=ContractChoice(contract=contract, kind=kind, deployment=deployment), **rest)

    return wrapped  # type: ignore[return-value]


def sending_options(key_flag: str = "--key", key_help: str = "Web3 V3 keystore of the sender.") -> Callable[[F], F]:
    """--key, --password-file, fees, --broadcast, waiting; the command gets `sending: SendingChoice`."""

    def decorate(command: F) -> F:
        @click.option(key_flag, "key", required=True, type=FILE, help=key_help)
        @password_option
        @click.option("--fee-strategy", default="auto", show_default=True,
                      type=click.Choice(["auto", "eip1559", "legacy"]),
                      help="auto: EIP-1559 where blocks have a base fee, else a gas price.")
        @click.option("--fee-cap", type=COINS, help="Most to pay for one gas, such as 5gwei [default: no cap].")
        @click.option("--broadcast/--dry-run", default=None,
                      help="Send, or only say what would be sent [default: send on test networks only].")
        @click.option("--confirmations", default=1, show_default=True, type=click.IntRange(1, 1_000),
                      help="Blocks to wait for, the transaction's own included.")
        @click.option("--timeout", default=TIMEOUT_S, show_default=True, type=click.FloatRange(min=0),
                      help="Seconds to wait for each transaction.")
        @wraps(command)
        def wrapped(*args: Any, key: Path, password_file: Path | None, fee_strategy: FeeStrategy,  # noqa: ANN401
                    fee_cap: int | None, broadcast: bool | None, confirmations: int, timeout: float,
                    **rest: Any) -> Any:  # noqa: ANN401
            sending = SendingChoice(
                key=key, password_file=password_file, fee_strategy=fee_strategy, fee_cap=fee_cap,
                broadcast=broadcast, confirmations=confirmations, timeout=timeout,
            )  # fmt: skip
            return command(*args, sending=sending, **rest)

        return wrapped  # type: ignore[return-value]

    return decorate


def planned_document(network: Network, sender: Sender, plans: Sequence[Plan]) -> dict[str, object]:
    """JSON of a dry run."""
    return {
        "dry_run": True,
        "network": network.name,
        "chain_id": network.chain_id,
        "from": checksum_address(sender.address),
        "transactions": [
            {
                "what": plan.what,
                "to": None if plan.to is None else checksum_address(plan.to),
                "nonce": plan.nonce,
                "value": str(plan.value_wei),
                "gas_limit": plan.gas,
                "fee_per_gas_max": str(plan.fee.max_wei),
                "cost_max": str(plan.most_wei),
                "data_bytes": len(plan.data),
            }
            for plan in plans
        ],
    }


def planned_lines(network: Network, sender: Sender, plans: Sequence[Plan]) -> list[str]:
    """What a dry run says to people."""
    lines = [f"dry run on {network.name} (chain id {network.chain_id}), from {checksum_address(sender.address)}"]
    lines += [
        f"  {plan.what}: nonce {plan.nonce}, value {coins(plan.value_wei)}, gas up to {plan.gas:,} "
        f"at up to {plan.fee.max_wei / GWEI:.3f} gwei, at most {coins(plan.most_wei)} in all"
        for plan in plans
    ]
    lines.append(f"nothing was sent; it would cost at most {coins(sum(plan.most_wei for plan in plans))} coins in all")
    if network.has_value:
        lines.append("these coins may have a value: send with --broadcast")
    return lines


def say(line: str) -> None:
    """Progress, on standard error."""
    click.echo(line, err=True)
