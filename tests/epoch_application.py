"""An application for tests whose transactions change the validators and the parameters.

`ChangeEpoch` names the wanted validators among those that the test knows, and the wanted parameters by name; nothing
named leaves them as they are planned. Anybody may send one: who may change what is governance's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from core_network import key
from quiet_application import QuietApplication

from potchain import (
    BlockContext,
    EventData,
    Parameters,
    StateWriter,
    Text,
    Transaction,
    TransactionBody,
    TransactionFailed,
    Validator,
    change_epoch,
    planned_epoch,
    uint256,
)
from potchain.transactions import TransactionTypes


class ChangeEpoch(TransactionBody, frozen=True):
    """A wanted change."""

    members: Text
    """Names of validators, separated by commas; empty: as planned."""
    parameters: Text
    """JSON object of parameters to change; empty: as planned."""


class EpochApplication(QuietApplication):
    """The application. `validators`: everybody who could ever be one."""

    name = "epochs"
    body_types: tuple[type[TransactionBody], ...] = (ChangeEpoch,)

    def __init__(self, validators: Sequence[Validator]) -> None:
        self._validators = {validator.name: validator for validator in validators}

    def execute(self, transaction: Transaction, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Decide the change."""
        body = transaction.body
        assert isinstance(body, ChangeEpoch)
        members = None
        if body.members:
            try:
                members = [self._validators[name] for name in body.members.split(",")]
            except KeyError as unknown:
                raise TransactionFailed("unknown_validator", str(unknown)) from None
        parameters = None
        if body.parameters:
            _, planned = planned_epoch(context, state)
            wanted = msgspec.json.decode(body.parameters, type=dict[str, int])
            parameters = msgspec.structs.replace(planned, **wanted)
        return (change_epoch(context, state, members=members, parameters=parameters),)


def change(
    types: TransactionTypes,
    sender: str,
    nonce: int,
    members: Iterable[str] = (),
    parameters: Mapping[str, int] | None = None,
    fee: int = 10,
) -> Transaction:
    """A signed change of validators (names) and parameters."""
    text = msgspec.json.encode(dict(parameters)).decode() if parameters else ""
    body = ChangeEpoch(key(sender).address, nonce, uint256(fee), 0, ",".join(members), text)
    return types.sign(body, key(sender))


def with_parameters(parameters: Parameters, **changes: int) -> Parameters:
    """Parameters with some changed."""
    return msgspec.structs.replace(parameters, **changes)
