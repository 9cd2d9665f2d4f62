"""Bundles: transactions as one byte string, cut into k blocks, coded to n shares of which any k give it back.

Theory of operation. The bytes of a bundle are its transactions, each behind its length. They are cut into k blocks of
equal length (the last ones padded with zeros) and coded by zfec: a systematic Reed-Solomon code over GF(2^8), so the
first k shares are the blocks themselves and n is at most 256. A Merkle tree stands over all n shares; a client signs
its root together with k, n and the length. A share travels with its branch, so every share is checked alone, at once.

That every share is under the root does not say that the shares belong together: a liar may sign a root over n blocks
of rubbish. So who has k shares decodes, codes again and compares the root. Either all n shares are of one code word,
then any k of them give it; or they are not, then the shares made of whatever any k of them give have another root. All
nodes come to the same verdict from different shares, and an inconsistent bundle is refused by all alike.

A signature makes rubbish attributable. It gives a bundle no standing: its transactions are admitted one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
import zfec

from potchain import merkle
from potchain.codec import Canonical, encode
from potchain.crypto import SigningKey, digest_of, recover_address
from potchain.primitives import Bytes32, Digest, Signature65, Uint64

BUNDLE_TAG = b"potchain.bundle.1"
SHARES_MAX = 256
"""Shares of one bundle: the field of the code has no more elements. Members at later places forward none."""
BUNDLE_BYTES_MAX = 4 * 1024 * 1024
"""Bound on one bundle's bytes; the canonical bytes of its transactions, and 4 bytes for each."""
BUNDLE_TRANSACTIONS_MAX = 16_384
"""Transactions in one bundle."""
_LENGTH_BYTES = 4


class BundleHead(Canonical, frozen=True):
    """What a bundle is: all that its client signs, beside the network's genesis hash."""

    root: Bytes32
    """Of the Merkle tree over all shares."""
    needed: Uint64
    """k: so many shares give the bundle."""
    shares: Uint64
    """n: so many there are, one for each member of the epoch in member order, at most `SHARES_MAX`."""
    bundle_bytes: Uint64
    """Length before padding, 1 to `BUNDLE_BYTES_MAX`."""
    number: Uint64
    """The client's own, such as its next nonce, so that it may send the same transactions again."""

    @property
    def block_bytes(self) -> int:
        """Length of each share's block."""
        return -(-self.bundle_bytes // self.needed)


class Share(Canonical, frozen=True):
    """One of n shares, with everything that is needed to check it. Beside its block it has about 118 bytes, and 34
    for each level of the tree: 254 if there are 10 shares, 356 if there are 100."""

    head: BundleHead
    signature: Signature65
    """The client's, recoverable, over `bundle_digest`."""
    index: Uint64
    """Place among the shares, from 0."""
    branch: tuple[Bytes32, ...]
    block: bytes


class Reassembled(msgspec.Struct, frozen=True):
    """A bundle whose shares were all found to belong together."""

    transactions: tuple[bytes, ...]
    """As they were packed; nobody has parsed them yet."""
    blocks: tuple[bytes, ...]
    """Of all n shares."""


def shares_of(members: int) -> int:
    """n for an epoch of so many members, at least 1.

    >>> shares_of(100), shares_of(300)
    (100, 256)
    """
    return min(members, SHARES_MAX)


def needed_shares(members: int, lost_max: int) -> int:
    """k such that the bundle arrives though `lost_max` of its shares never do; at least 1.

    With f faults tolerated, 2f is the default of the house: f members crashed and as many shares again lost or late.
    f gives shares of half the size, and every correct member's share is needed then. A client chooses.

    >>> needed_shares(100, 2 * 33), needed_shares(100, 33), needed_shares(2, 0)
    (34, 67, 2)
    """
    return max(1, shares_of(members) - lost_max)


def bundle_digest(genesis_hash: bytes, head: BundleHead) -> Digest:
    """What a client signs, and what a bundle is known by: two clients that sign one head sign one bundle."""
    return digest_of(BUNDLE_TAG, genesis_hash + encode(head))


def signer_of(bundle: Digest, share: Share) -> bytes:
    """Address of the account that signed the share's head, whose `bundle_digest` is given.

    Raises InvalidProof. About 60 microseconds.
    """
    return recover_address(bundle, share.signature)


def split(
    transactions: Sequence[bytes],
    *,
    shares: int,
    needed: int,
    key: SigningKey,
    genesis_hash: bytes,
    number: int = 0,
) -> tuple[Share, ...]:
    """All shares of one bundle of canonical signed transactions; share i is for the epoch's member i.

    `shares` is `shares_of(members)`, `needed` mostly `needed_shares(members, 2 * f)`. Raises ValueError when there is
    nothing to send, when it is more than a bundle holds, or for needed outside 1 to shares.
    """
    data = b"".join([part for raw in transactions for part in (len(raw).to_bytes(_LENGTH_BYTES, "big"), raw)])
    head = BundleHead(bytes(32), needed, shares, len(data), number)
    fault = head_fault(head)
    if fault is not None or len(transactions) > BUNDLE_TRANSACTIONS_MAX or not all(transactions):
        raise ValueError(fault or f"{len(transactions)} transactions: from 1 to {BUNDLE_TRANSACTIONS_MAX}, none empty")
    blocks = _coded(head, data)
    head = msgspec.structs.replace(head, root=merkle.root(blocks))
    signature = key.sign_digest(bundle_digest(genesis_hash, head))
    branches = merkle.branches(blocks)
    return tuple(Share(head, signature, index, branches[index], block) for index, block in enumerate(blocks))


def own_share(head: BundleHead, signature: bytes, blocks: Sequence[bytes], index: int) -> Share:
    """The share at one place, from the blocks of all."""
    return Share(head, signature, index, merkle.branch(blocks, index), blocks[index])


def head_fault(head: BundleHead) -> str | None:
    """Why no bundle can have this head, in words; None for a good one."""
    if not 1 <= head.needed <= head.shares <= SHARES_MAX:
        return f"a bundle of {head.shares} shares of which {head.needed} are needed; at most {SHARES_MAX} can be"
    if not 1 <= head.bundle_bytes <= BUNDLE_BYTES_MAX:
        return f"a bundle of {head.bundle_bytes} bytes; from 1 to {BUNDLE_BYTES_MAX} are allowed"
    return None


def share_fault(share: Share) -> str | None:
    """Why this share is no part of the bundle that its head names, in words; None for a good one.

    The signature is not looked at: it is the same for all shares of a bundle (`signer_of`).
    """
    head = share.head
    fault = head_fault(head)
    if fault is not None:
        return fault
    if len(share.block) != head.block_bytes:
        return f"a share of {len(share.block)} bytes of a bundle whose shares have {head.block_bytes}"
    if not merkle.verify_branch(share.block, share.index, head.shares, share.branch, head.root):
        return f"share {share.index} of {head.shares} is not under the signed root"
    return None


def reassemble(head: BundleHead, shares: Sequence[tuple[int, bytes]]) -> Reassembled | None:
    """The bundle from `head.needed` different checked shares (index, block); None: it is inconsistent.

    Which shares are given makes no difference to the outcome. For 1 MB, 20 ms with k, n = 17, 49 and 40 ms with
    34, 100, most of it without the interpreter's lock.
    """
    chosen = sorted(shares)[: head.needed]
    # The primary blocks that are here go to their own places: zfec then computes the missing ones alone.
    primary = _codec(head.needed, head.shares)[1].decode(
        tuple(block for _, block in chosen), tuple(index for index, _ in chosen)
    )
    data = b"".join(primary)[: head.bundle_bytes]
    blocks = _coded(head, data)
    if merkle.root(blocks) != head.root:
        return None
    transactions = _unpacked(data)
    return None if transactions is None else Reassembled(transactions, blocks)


def _coded(head: BundleHead, data: bytes) -> tuple[bytes, ...]:
    size = head.block_bytes
    padded = data.ljust(size * head.needed, b"\0")
    primary = tuple(padded[start : start + size] for start in range(0, len(padded), size))
    return tuple(_codec(head.needed, head.shares)[0].encode(primary))


def _unpacked(data: bytes) -> tuple[bytes, ...] | None:
    """The transactions of a bundle; None when its bytes are no whole list of them."""
    transactions: list[bytes] = []
    place = 0
    while place < len(data):
        start = place + _LENGTH_BYTES
        length = int.from_bytes(data[place:start], "big")
        place = start + length
        if length == 0 or place > len(data) or len(transactions) == BUNDLE_TRANSACTIONS_MAX:
            return None
        transactions.append(data[start:place])
    return tuple(transactions)


@lru_cache(maxsize=8)
def _codec(needed: int, shares: int) -> tuple[zfec.Encoder, zfec.Decoder]:
    """The code's tables: 1 ms for 256 shares, and never changed once they are made."""
    return zfec.Encoder(needed, shares), zfec.Decoder(needed, shares)
