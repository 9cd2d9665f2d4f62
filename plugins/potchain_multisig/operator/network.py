"""Which chain: names as eth-ape has them, or a URL; what it costs there; and whether its coins have a value.

`ecosystem:network[:provider]` stands for a chain id that the endpoint must then prove. Only the local chain has an
endpoint of its own; for others the operator gives one, or eth-ape does where it is installed. A chain that is not known
to be a test network is taken for one with real value, and commands that send only say what they would do there.
"""

from __future__ import annotations

import importlib.util
from typing import Final, Literal

import msgspec

from potchain import SettlementError
from potchain_multisig.answers import BlockShape
from potchain_multisig.fees import FeeLimits, offer
from potchain_multisig.operator.devnet import CHAIN_ID, LOOPBACK, PORT
from potchain_multisig.operator.endpoint import Endpoint, Refusal

LOCAL: Final = "ethereum:local"
LOCAL_URL: Final = f"http://{LOOPBACK}:{PORT}"
RPC_VARIABLE: Final = "POTCHAIN_RPC_URL"
NETWORK_VARIABLE: Final = "POTCHAIN_NETWORK"

CHAIN_IDS: Final = {
    "arbitrum:mainnet": 42161,
    "arbitrum:sepolia": 421614,
    "avalanche:fuji": 43113,
    "avalanche:mainnet": 43114,
    "base:mainnet": 8453,
    "base:sepolia": 84532,
    "bsc:local": CHAIN_ID,
    "bsc:mainnet": 56,
    "bsc:testnet": 97,
    "ethereum:holesky": 17000,
    "ethereum:hoodi": 560048,
    "ethereum:local": CHAIN_ID,
    "ethereum:mainnet": 1,
    "ethereum:sepolia": 11155111,
    "gnosis:chiado": 10200,
    "gnosis:mainnet": 100,
    "optimism:mainnet": 10,
    "optimism:sepolia": 11155420,
    "polygon:amoy": 80002,
    "polygon:mainnet": 137,
}
"""By ecosystem and network. Chain ids as registered for EIP-155."""

TEST_CHAINS: Final = frozenset({
    CHAIN_ID, 1337, 97, 10200, 17000, 43113, 80002, 84532, 421614, 560048, 11155111, 11155420,
})  # fmt: skip
"""Coins of these are given away. Every other chain is treated as one with real value."""

GWEI: Final = 10**9
COIN: Final = 10**18
FeeStrategy = Literal["auto", "eip1559", "legacy"]
TIP_WEI: Final = GWEI
"""Priority fee where the endpoint suggests none."""
NO_CAP: Final = 2**128
"""More per gas than there are coins."""


class FeeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much to pay for gas."""

    strategy: FeeStrategy = "auto"
    """auto: EIP-1559 where blocks have a base fee, else a gas price."""
    cap_wei: int | None = None
    """Highest fee per gas; None: whatever the chain asks."""


class Fee(msgspec.Struct, frozen=True, kw_only=True):
    """Fee of one transaction, per gas."""

    max_wei: int
    """Never more than this."""
    tip_wei: int | None
    """EIP-1559 priority fee; None: a legacy transaction with a gas price of `max_wei`."""

    def fields(self) -> dict[str, int]:
        """Members of a transaction."""
        if self.tip_wei is None:
            return {"gasPrice": self.max_wei}
        return {"type": 2, "maxFeePerGas": self.max_wei, "maxPriorityFeePerGas": self.tip_wei}


class Network:
    """A chain that answered with the chain id it should have."""

    def __init__(self, name: str, endpoint: Endpoint, chain_id: int) -> None:
        self.name = name
        """As it was asked for; for a URL its scheme and host."""
        self.endpoint = endpoint
        self.chain_id = chain_id

    @property
    def has_value(self) -> bool:
        """Whether its coins may be worth something."""
        return self.chain_id not in TEST_CHAINS

    def fee(self, options: FeeOptions) -> Fee:
        """The fee to pay now. Raises SettlementError(`gas_too_dear`) when the cap does not reach for the next block."""
        stated = self.latest_block().base_fee_per_gas
        if stated is None and options.strategy == "eip1559":
            raise SettlementError(
                "not_configured", f"blocks of {self.name} have no base fee: use --fee-strategy legacy, or auto"
            )
        legacy = stated is None or options.strategy == "legacy"
        base = None if stated is None or legacy else int(stated, 16)
        suggested = self.endpoint.quantity("eth_gasPrice") if legacy else self._tip()
        cap = NO_CAP if options.cap_wei is None else options.cap_wei
        try:
            offered = offer(FeeLimits(cap, 0, cap), base, suggested)
        except SettlementError as fault:
            raise SettlementError(fault.code, f"{fault.detail} (--fee-cap)") from None
        return Fee(max_wei=offered.fee_per_gas, tip_wei=offered.tip_per_gas)

    def latest_block(self) -> BlockShape:
        """The head of the chain."""
        return self.endpoint.ask(BlockShape, "eth_getBlockByNumber", "latest", False)

    def _tip(self) -> int:
        try:
            return self.endpoint.quantity("eth_maxPriorityFeePerGas")
        except Refusal:  # an old method list; the fee history would tell no more than this default
            return TIP_WEI


def connect(name: str, url: str | None) -> Network:
    """The chain of that name, or at that URL, proved by its chain id.

    Raises SettlementError: `not_configured` (unknown name, or no endpoint for it), `unreachable`, `rubbish`,
    `wrong_chain`.
    """
    if "://" in name:
        endpoint = Endpoint(name)
        return Network(endpoint.shown, endpoint, endpoint.quantity("eth_chainId"))
    expected = chain_id_of(name)
    endpoint = Endpoint(url or _url_of(name))
    answered = endpoint.quantity("eth_chainId")
    if answered != expected:
        raise SettlementError(
            "wrong_chain", f"{name} has chain id {expected}, but {endpoint.shown} serves chain id {answered}"
        )
    return Network(name, endpoint, answered)


def chain_id_of(name: str) -> int:
    """Of an `ecosystem:network[:provider]`. Raises SettlementError(`not_configured`) with the names that are known."""
    place = ":".join(name.split(":")[:2])
    if place not in CHAIN_IDS:
        raise SettlementError(
            "not_configured",
            f"unknown network {name!r}; known: {', '.join(CHAIN_IDS)}; for any other chain give the URL of an endpoint",
        )
    return CHAIN_IDS[place]


def _url_of(name: str) -> str:
    if chain_id_of(name) == CHAIN_ID:
        return LOCAL_URL
    if importlib.util.find_spec("ape") is not None:
        return _url_from_ape(name)
    raise SettlementError(
        "not_configured",
        f"no endpoint for {name}: give its URL with --rpc or in {RPC_VARIABLE} (potchain names no public ones; "
        f"those of eth-ape are used where it is installed)",
    )


def _url_from_ape(name: str) -> str:
    from ape import networks  # type: ignore[import-not-found,unused-ignore]
    from ape.exceptions import ApeException  # type: ignore[import-not-found,unused-ignore]

    try:
        provider = networks.get_provider_from_choice(name)  # not connected: that is ours to do
        url: str | None = getattr(provider, "http_uri", None) or getattr(provider, "uri", None)
    except ApeException as fault:
        raise SettlementError("not_configured", f"eth-ape has no endpoint for {name}: {fault}") from None
    if not url:
        raise SettlementError("not_configured", f"eth-ape's provider for {name} has no URL; give one with --rpc")
    return str(url)

