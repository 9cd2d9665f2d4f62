"""Reading a contract: its view functions after one block, as enough endpoints agree.

Every method raises SettlementError: `wrong_contract` when there is no such function, `rubbish`, `disagreement`,
`unreachable`.
"""

from __future__ import annotations

from potchain import SettlementError
from potchain_multisig.agreement import Look, Panel
from potchain_multisig.answers import UINT64_MAX, Reverted, raw
from potchain_multisig.calls import Interface
from potchain_multisig.endpoints import Call


class Views:
    """The view functions of one contract, each with one result."""

    def __init__(self, panel: Panel, interface: Interface, address: bytes) -> None:
        self._panel = panel
        self._interface = interface
        self._address = address

    async def number(self, look: Look, block_hash: bytes, name: str) -> int:
        """A uint256."""
        return int(str(await self._ask(look, block_hash, name)))

    async def small(self, look: Look, block_hash: bytes, name: str) -> int:
        """A number that cannot have more than 64 bits in these contracts."""
        value = await self.number(look, block_hash, name)
        if value > UINT64_MAX:
            raise SettlementError("rubbish", f"{name}() is said to be {value}")
        return value

    async def flag(self, look: Look, block_hash: bytes, name: str) -> bool:
        """A bool."""
        return await self._ask(look, block_hash, name) is True

    async def text(self, look: Look, block_hash: bytes, name: str) -> str:
        """A string."""
        return str(await self._ask(look, block_hash, name))

    async def address(self, look: Look, block_hash: bytes, name: str) -> bytes:
        """20 bytes."""
        return raw(str(await self._ask(look, block_hash, name)))

    async def addresses(self, look: Look, block_hash: bytes, name: str) -> tuple[bytes, ...]:
        """A list of addresses, sorted."""
        found = await self._ask(look, block_hash, name)
        return tuple(sorted([raw(str(item)) for item in found])) if isinstance(found, tuple) else ()

    async def word(self, look: Look, block_hash: bytes, name: str, *arguments: object) -> bytes:
        """A bytes32."""
        found = await self._ask(look, block_hash, name, *arguments)
        return found if isinstance(found, bytes) else b""

    async def _ask(self, look: Look, block_hash: bytes, name: str, *arguments: object) -> object:
        call = Call(self._address, self._interface.encode(name, *arguments))
        answer = await self._panel.agreed(look, lambda endpoint: endpoint.call(call, block_hash), f"{name}()")
        if isinstance(answer, Reverted):
            raise SettlementError("wrong_contract", f"{name}() reverts: {self._interface.error(answer.data).text}")
        value: object
        (value,) = self._interface.decode(name, answer)
        return value
