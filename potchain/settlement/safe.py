"""The scheme "safe": a Gnosis Safe 1.4.1 owns PotBook, and an action is one of the Safe's own transactions.

Theory of operation. The owners of the Safe sign the EIP-712 digest of a Safe transaction (safe-contracts 1.4.1,
`Safe.getTransactionHash`) that calls the book with no value, no refund and no gas of its own, so that any relayer can
execute it and a refusal by the book undoes the whole. The Safe's nonce is bound to the action's: `Contract.safe_nonce`
is the Safe's nonce for action 0, and each action takes the next one.

Hence the Safe must do nothing else while it is bound: a transaction of its own, also one that changes its owners, takes
a nonce and voids the digests of all later actions. Such a Safe is bound again with its new nonce and owners. For the
same reason there is no action "rotate" here: exchanging a set of owners is more than one call, and a Safe transaction
is one (or a delegate call to another contract, which the book's signers should never be asked for).
"""

from __future__ import annotations

from potchain.crypto import keccak256
from potchain.errors import SettlementError
from potchain.primitives import ZERO_ADDRESS
from potchain.settlement.abi import WORD_BYTES, address_word, array, type_hash, typed_digest, word
from potchain.settlement.actions import Action, Contract

SAFE_VERSION = "1.4.1"
"""The version whose digests these are; 1.3.0 has the same."""
SAFE_KINDS = ("batch", "root", "pause")
"""Kinds of action that a Safe can do."""

_DOMAIN = type_hash("EIP712Domain(uint256 chainId,address verifyingContract)")
_SAFE_TX = type_hash(
    "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,uint256 gasPrice,"
    "address gasToken,address refundReceiver,uint256 nonce)"
)


def _selector(declaration: str) -> bytes:
    return keccak256(declaration.encode())[:4]


_CREDIT = _selector("credit(uint256,address[],uint256[])")
_COMMIT_ROOT = _selector("commitRoot(uint256,bytes32,uint256)")
_SET_PAUSED = _selector("setPaused(uint256,bool)")


def book_call(action: Action) -> bytes:
    """Call data with which the Safe makes PotBook do an action.

    Raises SettlementError(`unsupported`) for a kind that is not in SAFE_KINDS.
    """
    nonce = word(action.nonce)
    if action.kind == "batch":
        payees = array([address_word(entry.account) for entry in action.entries])
        amounts = array([entry.amount for entry in action.entries])
        first = 3 * WORD_BYTES
        return _CREDIT + nonce + word(first) + word(first + len(payees)) + payees + amounts
    if action.kind == "root":
        return _COMMIT_ROOT + nonce + action.root + word(action.total)
    if action.kind == "pause":
        return _SET_PAUSED + nonce + word(int(action.paused))
    raise SettlementError(
        "unsupported", f"a Safe cannot do the action {action.kind!r}; change its owners in the Safe, then bind it again"
    )


def safe_nonce_of(contract: Contract, action: Action) -> int:
    """The nonce of the Safe that an action takes."""
    return contract.safe_nonce + action.nonce


def safe_digest(contract: Contract, action: Action) -> bytes:
    """The EIP-712 digest that the Safe checks for an action (Safe 1.4.1, `getTransactionHash`).

    Raises SettlementError(`unsupported`) for a kind that is not in SAFE_KINDS.
    """
    struct = (
        _SAFE_TX
        + address_word(contract.address)
        + word(0)  # value
        + keccak256(book_call(action))
        + word(0)  # operation: a plain call
        + word(0)  # safeTxGas: with neither it nor a gas price, a refusal by the book reverts the transaction
        + word(0)  # baseGas
        + word(0)  # gasPrice: the relayer is paid on the ledger
        + address_word(ZERO_ADDRESS)  # gasToken
        + address_word(ZERO_ADDRESS)  # refundReceiver
        + word(safe_nonce_of(contract, action))
    )
    separator = keccak256(_DOMAIN + word(contract.chain_id) + address_word(contract.safe))
    return typed_digest(separator, keccak256(struct))
