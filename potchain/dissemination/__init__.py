"""How transaction bodies reach every node when links are slow: erasure-coded bundles, and relays along a tree.

Pure arithmetic over bytes and places; nothing here knows a node, a peer or a clock. Consensus never depends on it:
a proposal names ids, and who lacks a body asks for it, whatever way bodies were meant to come.
"""

from potchain.dissemination.bundle import (
    BUNDLE_BYTES_MAX,
    SHARES_MAX,
    BundleHead,
    Reassembled,
    Share,
    bundle_digest,
    needed_shares,
    own_share,
    reassemble,
    share_fault,
    shares_of,
    signer_of,
    split,
)
from potchain.dissemination.options import DisseminationOptions
from potchain.dissemination.tree import children, pieces

__all__ = [
    "BUNDLE_BYTES_MAX",
    "BundleHead",
    "DisseminationOptions",
    "Reassembled",
    "SHARES_MAX",
    "Share",
    "bundle_digest",
    "children",
    "needed_shares",
    "own_share",
    "pieces",
    "reassemble",
    "share_fault",
    "shares_of",
    "signer_of",
    "split",
]
