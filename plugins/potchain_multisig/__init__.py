"""Built-in settlement back ends: `multisig` (PotSettlement) and `safe` (PotBook, owned by a Gnosis Safe 1.4.1).

Rooms, each importing only what is above it here:

    options       the tables [settlement.multisig] and [settlement.safe], every bound with its default
    answers       shapes of JSON-RPC answers, and the values read from them; pure
    endpoints     one endpoint: typed questions, deadlines, faults
    agreement     several endpoints held against each other
    events        logs into events of the ledger; pure
    calls         call data, results and errors by the committed ABI; pure
    fees          what a transaction offers; pure
    transactions  signed transactions; pure
    views         reading a contract
    multisig      calls of PotSettlement
    safe          calls of PotBook through its Safe
    scheme        what the two have in common
    watching      finding events in the chain
    relaying      simulate, price, sign, submit, follow
    backend       the back end itself
    operator/     the commands `potchain contract ...`: wallets, funds, deployment, calls, a local EVM

The EVM libraries come with the extra `evm` and are imported when a back end is created, not before.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from potchain import (
    BackendContext,
    CommandPlace,
    SettlementBackend,
    SettlementBackendFactory,
    SettlementError,
    hookimpl,
)
from potchain_multisig.options import EvmOptions, require_usable

__all__ = ["EvmFactory", "EvmOptions", "cli_commands", "settlement_backends"]


class EvmFactory:
    """Offers one back end; its name is that of its scheme."""

    version = "1"
    options_type: type[msgspec.Struct] = EvmOptions

    def __init__(self, name: str) -> None:
        self.name = name
        self.scheme = name

    def create(self, options: msgspec.Struct, context: BackendContext) -> SettlementBackend:
        """A back end that is not open. Raises SettlementError(`not_configured`)."""
        chosen = msgspec.convert(options, EvmOptions, from_attributes=True)
        require_usable(chosen, self.name)
        if context.contract.scheme != self.scheme:
            raise SettlementError(
                "not_configured",
                f"the bound contract is of the scheme {context.contract.scheme!r}; set settlement.backend to it",
            )
        try:
            from potchain_multisig.backend import EvmBackend
        except ModuleNotFoundError as fault:
            raise SettlementError(
                "not_configured", f"the back end {self.name!r} needs {fault.name}: pip install 'potchain[evm]'"
            ) from None
        return EvmBackend(chosen, context)


@hookimpl
def settlement_backends() -> Iterable[SettlementBackendFactory]:
    """The settlement back ends of this plug-in."""
    return (EvmFactory("multisig"), EvmFactory("safe"))


@hookimpl
def cli_commands() -> Iterable[CommandPlace]:
    """`potchain contract`."""
    return (CommandPlace(name="contract", version="1", place="potchain_multisig.operator.commands:contract"),)
