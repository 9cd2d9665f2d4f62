"""One JSON-RPC endpoint: typed questions over HTTP, each with a deadline and a bound, every failure a named fault.

An endpoint that cannot be asked is `unreachable`. One that answers a proper question with an error (a limit on its
rate, a block that it no longer has) is `refused`, with its own words. One whose answer has another shape than the
standard's is `rubbish`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeVar

import aiohttp
import msgspec
from msgspec.json import Decoder

from potchain import SettlementError
from potchain_multisig.answers import (
    Block,
    BlockShape,
    Envelope,
    ErrorShape,
    HexData,
    HexHash,
    HexQuantity,
    Log,
    LogShape,
    Receipt,
    ReceiptShape,
    Reverted,
    TransactionShape,
    block_from,
    log_from,
    raw,
    receipt_from,
    revert_data,
    small,
)
from potchain_multisig.options import shown

T = TypeVar("T")
TEXT_MAX = 200
"""Characters of an endpoint's own words that are passed on."""
READ_BYTES = 64 * 1024

_ENVELOPE = Decoder(Envelope)
_QUANTITY: Decoder[str] = Decoder(HexQuantity)
_HASH: Decoder[str] = Decoder(HexHash)
_DATA: Decoder[str] = Decoder(HexData)
_BLOCK: Decoder[BlockShape | None] = Decoder(BlockShape | None)
_LOGS: Decoder[tuple[LogShape, ...]] = Decoder(tuple[LogShape, ...])
_RECEIPT: Decoder[ReceiptShape | None] = Decoder(ReceiptShape | None)
_TRANSACTION: Decoder[TransactionShape | None] = Decoder(TransactionShape | None)


class Call(msgspec.Struct, frozen=True):
    """A call to a contract."""

    to: bytes
    data: bytes
    sender: bytes | None = None
    gas: int | None = None


class RefusedByEndpoint(SettlementError):
    """The endpoint answered with a JSON-RPC error."""

    def __init__(self, name: str, method: str, error: ErrorShape) -> None:
        self.error = error
        super().__init__("refused", f"{name} refuses {method}: {_short(error.message)} ({error.code})")


class Endpoint:
    """Asks one address. Not started and not ended: the session is the caller's."""

    def __init__(
        self, number: int, url: str, session: aiohttp.ClientSession, timeout_ms: int, answer_bytes_max: int
    ) -> None:
        self.name = f"endpoint {number} ({shown(url)})"
        """Its place in the list, from 1, and its host; what people see."""
        self._url = url
        self._session = session
        self._timeout_s = timeout_ms / 1000
        self._answer_bytes_max = answer_bytes_max
        self._asked = 0

    async def chain_id(self) -> int:
        """eth_chainId."""
        return small(await self._quantity("eth_chainId"), "chain id")

    async def block(self, number: int | None = None) -> Block:
        """The block at a height; None: the newest."""
        place = "latest" if number is None else hex(number)
        shape = await self._ask("eth_getBlockByNumber", [place, False], _BLOCK)
        if shape is None:
            raise SettlementError("unreachable", f"{self.name} has no block {place}")
        block = block_from(shape)
        if number is not None and block.number != number:
            raise SettlementError("rubbish", f"{self.name} gave block {block.number} when asked for {number}")
        return block

    async def call(self, call: Call, block_hash: bytes) -> bytes | Reverted:
        """eth_call on the state after a block."""
        try:
            return raw(await self._ask("eth_call", [_call_json(call), _at(block_hash)], _DATA))
        except RefusedByEndpoint as refusal:
            return _reverted(refusal)

    async def call_at(self, call: Call, number: int) -> bytes | Reverted:
        """eth_call on the state after the block of that height."""
        try:
            return raw(await self._ask("eth_call", [_call_json(call), hex(number)], _DATA))
        except RefusedByEndpoint as refusal:
            return _reverted(refusal)

    async def estimate_gas(self, call: Call) -> int | Reverted:
        """eth_estimateGas on the newest block."""
        try:
            return small(await self._quantity("eth_estimateGas", _call_json(call), "latest"), "gas")
        except RefusedByEndpoint as refusal:
            return _reverted(refusal)

    async def code(self, address: bytes, block_hash: bytes) -> bytes:
        """Runtime code after a block; empty for none."""
        return raw(await self._ask("eth_getCode", [_hex(address), _at(block_hash)], _DATA))

    async def balance(self, address: bytes, block_hash: bytes) -> int:
        """Native coins after a block, wei."""
        return int(await self._quantity("eth_getBalance", _hex(address), _at(block_hash)), 16)

    async def account_nonce(self, address: bytes, block_hash: bytes) -> int:
        """Transactions of an account up to a block."""
        answer = await self._quantity("eth_getTransactionCount", _hex(address), _at(block_hash))
        return small(answer, "account nonce")

    async def logs(
        self, address: bytes, topics: Sequence[Sequence[bytes]], first: int, last: int, count_max: int
    ) -> tuple[Log, ...]:
        """Logs of a contract in blocks `first` to `last`, in their order; each topic is one of those listed."""
        question = {
            "address": _hex(address),
            "topics": [[_hex(topic) for topic in choice] for choice in topics],
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        shapes = await self._ask("eth_getLogs", [question], _LOGS)
        if len(shapes) > count_max:
            raise SettlementError("rubbish", f"{self.name} gave {len(shapes)} logs where {count_max} are possible")
        logs = [log_from(shape, address) for shape in shapes]
        for log in logs:
            if not first <= log.block_number <= last:
                raise SettlementError("rubbish", f"{self.name} gave a log of block {log.block_number}, not asked for")
        return tuple(sorted(logs, key=lambda log: (log.block_number, log.log_index)))

    async def gas_price(self) -> int:
        """eth_gasPrice, wei."""
        return int(await self._quantity("eth_gasPrice"), 16)

    async def tip(self) -> int | None:
        """eth_maxPriorityFeePerGas, wei; None where the endpoint does not know the method."""
        try:
            return int(await self._quantity("eth_maxPriorityFeePerGas"), 16)
        except RefusedByEndpoint:
            return None

    async def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """The receipt of a transaction, if it is mined."""
        shape = await self._ask("eth_getTransactionReceipt", [_hex(transaction_hash)], _RECEIPT)
        return None if shape is None else receipt_from(shape, transaction_hash)

    async def has(self, transaction_hash: bytes) -> bool:
        """Whether the endpoint has the transaction, in its pool or in a block."""
        shape = await self._ask("eth_getTransactionByHash", [_hex(transaction_hash)], _TRANSACTION)
        return shape is not None and raw(shape.hash) == transaction_hash

    async def send(self, transaction: bytes) -> bytes:
        """eth_sendRawTransaction: the hash that the endpoint gives it. Raises RefusedByEndpoint."""
        return raw(await self._ask("eth_sendRawTransaction", [_hex(transaction)], _HASH))

    async def _quantity(self, method: str, *parameters: object) -> str:
        return await self._ask(method, list(parameters), _QUANTITY)

    async def _ask(self, method: str, parameters: list[object], decoder: Decoder[T]) -> T:
        self._asked += 1
        number = self._asked
        question = {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
        answer = await self._post(method, msgspec.json.encode(question))
        try:
            envelope = _ENVELOPE.decode(answer)
            if envelope.id != number and not (envelope.id is None and envelope.error):
                raise SettlementError("rubbish", f"{self.name} answers another question than {method}")
            if envelope.error is not None:
                raise RefusedByEndpoint(self.name, method, envelope.error)
            return decoder.decode(envelope.result)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
            raise SettlementError("rubbish", f"{self.name} answers {method} with {_short(str(fault))}") from None

    async def _post(self, method: str, body: bytes) -> bytes:
        """The answer's bytes, whatever the status: error objects also come with 4xx and 5xx."""
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    return await self._posted(method, body)
                except aiohttp.ServerDisconnectedError:  # a connection kept alive, which the server had closed
                    return await self._posted(method, body)
        except TimeoutError:
            raise SettlementError(
                "unreachable", f"{self.name} did not answer {method} within {self._timeout_s:g} s"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            raise SettlementError("unreachable", f"{self.name} cannot be asked: {self._plain(fault)}") from None

    async def _posted(self, method: str, body: bytes) -> bytes:
        found = bytearray()
        async with self._session.post(
            self._url, data=body, headers={"Content-Type": "application/json"}, allow_redirects=False
        ) as response:
            async for piece in response.content.iter_chunked(READ_BYTES):
                found += piece
                if len(found) > self._answer_bytes_max:
                    raise SettlementError(
                        "rubbish", f"{self.name} answers {method} with over {self._answer_bytes_max} bytes"
                    )
        if response.status != 200 and not found.lstrip().startswith(b"{"):
            raise SettlementError("unreachable", f"{self.name} answers with HTTP {response.status}")
        return bytes(found)

    def _plain(self, fault: Exception) -> str:
        """A fault of the HTTP library without the address, which may hold a key."""
        return _short(str(fault).replace(self._url, self.name) or type(fault).__name__)


def _reverted(refusal: RefusedByEndpoint) -> Reverted:
    data = revert_data(refusal.error)
    if data is None:
        raise refusal
    return Reverted(data)


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _at(block_hash: bytes) -> dict[str, str]:
    """A block by its hash (EIP-1898), so that no reorganisation can come between two questions."""
    return {"blockHash": _hex(block_hash)}


def _call_json(call: Call) -> dict[str, str]:
    found = {"to": _hex(call.to), "data": _hex(call.data)}
    if call.sender is not None:
        found["from"] = _hex(call.sender)
    if call.gas is not None:
        found["gas"] = hex(call.gas)
    return found


def _short(text: str) -> str:
    """Foreign words, printable and bounded."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[: TEXT_MAX + 1])
    return plain if len(plain) <= TEXT_MAX else plain[:TEXT_MAX] + "…"
