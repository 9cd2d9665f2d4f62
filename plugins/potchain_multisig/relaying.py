"""Sending an action: simulate, price, sign, submit, follow. Nothing is kept: the settler keeps what was prepared.

The account nonce of a new transaction is the number of the account's mined ones, since one action at a time can be the
contract's next. A transaction of ours that still waits in some pool is thereby replaced, never followed by a second:
two can never both wait. Should the pool want a higher fee for that, it says so (`gas_too_dear`), and the next attempt
offers an eighth more.

Whatever goes wrong here costs gas at most: the contract executes each action once.
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable

import msgspec

from potchain import Prepared, ReadyAction, RelayState, SettlementError, SigningKey
from potchain_multisig.agreement import Look, Panel
from potchain_multisig.answers import Receipt, Reverted
from potchain_multisig.endpoints import Call, Endpoint, RefusedByEndpoint
from potchain_multisig.fees import FeeLimits, Offer, offer
from potchain_multisig.scheme import Scheme
from potchain_multisig.transactions import Told, read_back, signed

GAS_MARGIN_NUMERATOR, GAS_MARGIN_DENOMINATOR = 6, 5
"""The gas limit over the estimate: storage that others write meanwhile may cost more."""
GAS_MIN = 21_000
"""What every transaction costs."""

REFUSALS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", ("already known", "known transaction", "already imported", "alreadyknown", "already in mempool")),
    ("", ("nonce too low", "nonce is too low", "oldnonce")),
    ("empty_wallet", ("insufficient funds", "insufficient balance", "insufficientfunds")),
    ("gas_too_much", ("gas limit", "intrinsic gas", "out of gas")),
    ("gas_too_dear", ("underpriced", "less than block base fee", "too low", "toolow")),
)
"""What the words of a pool mean, from geth, erigon, nethermind, besu, reth and anvil. "": nothing is wrong; a nonce
that is used up is for `follow` to explain."""


class RelayLimits(msgspec.Struct, frozen=True):
    """From the options."""

    fees: FeeLimits
    gas_max: int


class Relayer:
    """Sends transactions of one account."""

    def __init__(
        self, panel: Panel, scheme: Scheme, chain_id: int, key: SigningKey | None, limits: RelayLimits
    ) -> None:
        self._panel = panel
        self._scheme = scheme
        self._chain_id = chain_id
        self._key = key
        self._limits = limits

    async def prepare(self, ready: ReadyAction, now_ms: int, replaces: Prepared | None) -> Prepared:
        """See `potchain.SettlementBackend.prepare`."""
        if self._key is None:
            raise SettlementError("not_configured", "the node has no relay key; set settlement.relay_key")
        account = self._key.address
        look = await self._panel.look()
        await self._scheme.require_in_step(look)
        call = msgspec.structs.replace(self._scheme.plan(ready), sender=account)
        await self._rehearse(look, call)
        gas = await self._gas_limit(look, call)
        again = replaces if replaces is not None and replaces.account == account else None
        account_nonce = await self._account_nonce(look, account, again)
        priced = await self._offer(look, None if again is None else read_back(again.raw).offer)
        await self._require_balance(look, account, gas * priced.fee_per_gas)
        transaction = signed(self._key, self._chain_id, account_nonce, call, gas, priced)
        return Prepared(
            action_nonce=ready.action.nonce,
            attempt=0 if replaces is None else replaces.attempt + 1,
            account=account,
            account_nonce=account_nonce,
            transaction_hash=transaction.hash,
            raw=transaction.raw,
            fee_per_gas_wei=priced.fee_per_gas,
            prepared_ms=now_ms,
        )

    async def submit(self, prepared: Prepared) -> None:
        """See `potchain.SettlementBackend.submit`."""

        async def send(endpoint: Endpoint) -> None:
            try:
                given = await endpoint.send(prepared.raw)
            except RefusedByEndpoint as refusal:
                code = meaning(refusal.error.message)
                if code:
                    raise SettlementError(code, refusal.detail) from None
                return
            if given != prepared.transaction_hash:
                raise SettlementError("rubbish", f"{endpoint.name} took the transaction for 0x{given.hex()}")

        took, faults = await self._panel.opinions(send)
        if not took:
            codes = [fault.code for fault in faults]
            order = [code for code, _ in REFUSALS if code in codes] + codes
            raise SettlementError(order[0], "; ".join(fault.detail for fault in faults))

    async def follow(self, prepared: Prepared) -> RelayState:
        """See `potchain.SettlementBackend.follow`."""
        look = await self._panel.look()
        # The count of mined transactions first: a nonce that is used up before the receipt is looked for has one,
        # ours or another's.
        used = await self._panel.agreed(
            look, lambda endpoint: endpoint.account_nonce(prepared.account, look.head.hash), "the account's nonce"
        )
        receipt = await self._panel.settled(look, lambda endpoint: endpoint.receipt(prepared.transaction_hash))
        if receipt is not None:
            above = max(0, look.head.number - receipt.block_number)
            if receipt.succeeded:
                return RelayState(phase="mined", confirmations=above)
            return RelayState(phase="reverted", confirmations=above, detail=await self._reason(look, prepared, receipt))
        known, _ = await self._panel.opinions(lambda endpoint: endpoint.has(prepared.transaction_hash))
        if any(known):
            return RelayState(phase="pending")
        return RelayState(phase="replaced" if used > prepared.account_nonce else "unknown")

    async def _rehearse(self, look: Look, call: Call) -> None:
        """Raises when the contract would refuse the call after the head."""
        for part in (self._scheme.inner(call), call):
            if part is None:
                continue
            outcome = await self._panel.agreed(look, _calling(part, look.head.hash), "the simulated call")
            if isinstance(outcome, Reverted):
                raise self._refusal(outcome)

    async def _gas_limit(self, look: Look, call: Call) -> int:
        async def estimate(endpoint: Endpoint) -> int:
            outcome = await endpoint.estimate_gas(call)
            if isinstance(outcome, Reverted):
                raise self._refusal(outcome)
            if outcome < GAS_MIN:
                raise SettlementError("rubbish", f"{endpoint.name} estimates {outcome} gas; nothing costs so little")
            return outcome

        # The higher middle: too much gas costs nothing, too little costs it all.
        estimated = statistics.median_high(await self._panel.views(look, estimate))
        most = min(self._limits.gas_max, look.head.gas_limit)
        if estimated > most:
            raise SettlementError("gas_too_much", f"the call needs {estimated} gas; {most} are allowed")
        return min(estimated * GAS_MARGIN_NUMERATOR // GAS_MARGIN_DENOMINATOR, most)

    async def _account_nonce(self, look: Look, account: bytes, replaces: Prepared | None) -> int:
        used = await self._panel.agreed(
            look, lambda endpoint: endpoint.account_nonce(account, look.head.hash), "the account's nonce"
        )
        if replaces is None:
            return used
        if used > replaces.account_nonce:
            raise SettlementError(
                "would_revert", f"account nonce {replaces.account_nonce} is used up; nothing is left to replace"
            )
        return replaces.account_nonce

    async def _offer(self, look: Look, replaced: Offer | None) -> Offer:
        base_fee = look.head.base_fee_wei
        opinions = await self._panel.views(look, Endpoint.gas_price if base_fee is None else Endpoint.tip)
        known = [opinion for opinion in opinions if opinion is not None]
        return offer(self._limits.fees, base_fee, statistics.median_low(known) if known else None, replaced)

    async def _require_balance(self, look: Look, account: bytes, needed: int) -> None:
        held = await self._panel.agreed(
            look, lambda endpoint: endpoint.balance(account, look.head.hash), "the relay account's balance"
        )
        if held < needed:
            raise SettlementError(
                "empty_wallet", f"relay account 0x{account.hex()} holds {held} wei; this transaction may cost {needed}"
            )

    async def _reason(self, look: Look, prepared: Prepared, receipt: Receipt) -> str:
        """Why the contract refused a mined transaction: what it says to the same call after that block."""
        told = read_back(prepared.raw)
        if receipt.gas_used >= told.gas:
            return f"out of gas: all {told.gas} were used"
        for part in (self._scheme.inner(told.call), _as_sent(told, prepared.account)):
            if part is None:
                continue
            try:
                outcome = await self._panel.settled(look, _calling_at(part, receipt.block_number))
            except SettlementError as fault:  # a state that endpoints no longer have must not hide that it reverted
                return f"the contract refused it; why cannot be asked any more: {fault.detail}"
            if isinstance(outcome, Reverted):
                return self._scheme.errors.error(outcome.data).text
        return "the contract refused it then and would not now"

    def _refusal(self, outcome: Reverted) -> SettlementError:
        error = self._scheme.errors.error(outcome.data)
        return SettlementError(error.fault, f"the contract refuses: {error.text}")


def meaning(message: str) -> str:
    """A code of FAULTS for a pool's refusal; "" when the transaction is known or already decided."""
    text = message.lower()
    for code, words in REFUSALS:
        if any(word in text for word in words):
            return code
    return "refused"


def _calling(call: Call, block_hash: bytes) -> Callable[[Endpoint], Awaitable[bytes | Reverted]]:
    return lambda endpoint: endpoint.call(call, block_hash)


def _calling_at(call: Call, number: int) -> Callable[[Endpoint], Awaitable[bytes | Reverted]]:
    return lambda endpoint: endpoint.call_at(call, number)


def _as_sent(told: Told, account: bytes) -> Call:
    return msgspec.structs.replace(told.call, sender=account, gas=told.gas)
