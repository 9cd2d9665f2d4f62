"""Creates a contract, checks what came of it, and writes down everything that somebody else needs to check it again.

A deployment file is made for people and machines: `potchain contract info` compares it with the chain, and what
`potchain gov` binds stands in it. It never holds the URL of an endpoint, which may carry a key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from potchain import ConfigError, SettlementError, checksum_address, parse_address
from potchain_multisig.answers import raw
from potchain_multisig.operator.artifact import Artifact, load_artifact
from potchain_multisig.operator.network import Network
from potchain_multisig.operator.sending import Plan, Receipt, Sender, SentShape

Kind = Literal["multisig", "safe-book"]
KINDS: Final[tuple[Kind, ...]] = ("multisig", "safe-book")
ARTIFACT_OF: Final[dict[Kind, str]] = {"multisig": "PotSettlement", "safe-book": "PotBook"}
ZERO: Final = "0x" + "00" * 20
DEPLOYMENT_BYTES_MAX: Final = 1 << 20
NUMBER_MAX: Final = 2**53 - 1
"""Any JSON reader keeps it exactly."""
Natural = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
Hash = Annotated[str, Meta(pattern="^0x[0-9a-fA-F]{64}$")]


class Arguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of the constructor, as text. Members that a kind does not have keep their defaults."""

    owners: tuple[str, ...] = ()
    """multisig: sorted."""
    threshold: Annotated[int, Meta(ge=0, le=255)] = 0
    """multisig."""
    safe: str = ""
    """safe-book: the Safe that owns the book."""
    token: str = ZERO
    """An ERC-20 token; zero: the chain's own coin."""
    compatible: bool = False
    """multisig: whether propose, confirm and execute may be used."""

    def values(self, kind: Kind) -> tuple[object, ...]:
        """In the constructor's order."""
        token = parse_address(self.token)
        if kind == "safe-book":
            return parse_address(self.safe), token
        return [parse_address(owner) for owner in self.owners], self.threshold, token, self.compatible


class Deployment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the deployment file says."""

    kind: Kind
    contract: str
    """Name of the artifact."""
    network: str
    """As it was asked for; of a URL, scheme and host only."""
    chain_id: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]
    address: str
    block_number: Natural
    block_hash: Hash
    transaction_hash: Hash
    deployer: str
    gas_used: Natural
    arguments: Arguments
    artifact_hash: str
    """sha256 of the artifact's file."""
    compiler: str


def plan_deployment(sender: Sender, kind: Kind, arguments: Arguments) -> Plan:
    """The creating transaction. Raises SettlementError as `Sender.plan`, and `wrong_contract` for a safe or token
    without code."""
    for what, address in (("Safe", arguments.safe), ("token", arguments.token)):
        if address not in ("", ZERO) and not code_of(sender.network, parse_address(address)):
            raise SettlementError("wrong_contract", f"there is no code at the {what}'s address {address}")
    artifact = load_artifact(ARTIFACT_OF[kind])
    data = artifact.creation(*arguments.values(kind))
    return sender.plan(f"deploy {artifact.name}", None, data, artifact=artifact)


def require_creation(
    network: Network, transaction_hash: str, deployer: bytes, kind: Kind, arguments: Arguments
) -> None:
    """Raises SettlementError(`wrong_contract`) unless that transaction is the deployer's and creates just this."""
    sent = network.endpoint.ask(SentShape | None, "eth_getTransactionByHash", transaction_hash)  # type: ignore[arg-type]
    if not isinstance(sent, SentShape):
        raise SettlementError("not_mined", f"{network.endpoint.shown} knows no transaction {transaction_hash}")
    creation = load_artifact(ARTIFACT_OF[kind]).creation(*arguments.values(kind))
    if raw(sent.sender) != deployer or sent.to is not None or sent.input != "0x" + creation.hex():
        raise SettlementError(
            "wrong_contract",
            f"transaction {transaction_hash} is no deployment of this contract with these arguments by "
            f"{checksum_address(deployer)}",
        )


def record_of(network: Network, deployer: bytes, kind: Kind, arguments: Arguments, receipt: Receipt) -> Deployment:
    """The deployment file's contents, after the code on the chain was found to be ours.

    Raises SettlementError(`wrong_contract`).
    """
    if receipt.contract is None:
        raise SettlementError("rubbish", f"the receipt of {receipt.transaction_hash} names no contract")
    check_code(network, load_artifact(ARTIFACT_OF[kind]), receipt.contract)
    return described(network.name, network.chain_id, deployer, kind, arguments, receipt)


def described(
    network: str, chain_id: int, deployer: bytes, kind: Kind, arguments: Arguments, receipt: Receipt
) -> Deployment:
    """The deployment file's contents, unchecked; scripts of eth-ape check the code by their own provider."""
    assert receipt.contract is not None, "a deployment without a contract"
    artifact = load_artifact(ARTIFACT_OF[kind])
    return Deployment(
        kind=kind,
        contract=artifact.name,
        network=network,
        chain_id=chain_id,
        address=checksum_address(receipt.contract),
        block_number=receipt.block_number,
        block_hash=receipt.block_hash,
        transaction_hash=receipt.transaction_hash,
        deployer=checksum_address(deployer),
        gas_used=receipt.gas_used,
        arguments=arguments,
        artifact_hash=artifact.hash,
        compiler=artifact.compiler,
    )


def check_code(network: Network, artifact: Artifact, address: bytes) -> None:
    """Raises SettlementError(`wrong_contract`) when there is no code, or another contract's."""
    code = code_of(network, address)
    if not code:
        raise SettlementError(
            "wrong_contract",
            f"there is no code at {checksum_address(address)} on {network.name} (chain id {network.chain_id}); is it "
            f"the right network?",
        )
    if not artifact.is_code(code):
        raise SettlementError(
            "wrong_contract",
            f"the {len(code)} bytes of code at {checksum_address(address)} are not this version's {artifact.name}",
        )


def code_of(network: Network, address: bytes) -> bytes:
    """Deployed code; empty for a plain account."""
    return network.endpoint.data("eth_getCode", checksum_address(address), "latest")


def write_deployment(path: Path, deployment: Deployment) -> None:
    """Raises ConfigError when the file is there already: a deployment is written down once."""
    try:
        with path.open("xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(deployment), indent=2) + b"\n")
    except FileExistsError:
        raise ConfigError(f"{path} is there already; choose another name with --out") from None


def read_deployment(path: Path) -> Deployment:
    """Raises ConfigError, with file and member, when the file is missing or none."""
    try:
        with path.open("rb") as file:
            deployment = msgspec.json.decode(file.read(DEPLOYMENT_BYTES_MAX), type=Deployment)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no deployment file {path}; name one with --deployment, or an address with --contract"
        ) from None
    except msgspec.DecodeError as fault:
        raise ConfigError(f"{path} is no deployment file: {fault}") from None
    stated = deployment.arguments
    safes = [("arguments.safe", stated.safe)] if deployment.kind == "safe-book" else []
    owners = [(f"arguments.owners[{place}]", owner) for place, owner in enumerate(stated.owners)]
    for member, address in (("address", deployment.address), ("deployer", deployment.deployer),
                            ("arguments.token", stated.token), *safes, *owners):  # fmt: skip
        try:
            parse_address(address)
        except ValueError as fault:
            raise ConfigError(f"{path} is no deployment file: {fault} - at `$.{member}`") from None
    return deployment
