"""Runs in worker processes: recovers signers, and nothing else, so that it starts fast and stays small."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

from potchain.crypto import recover_address
from potchain.errors import InvalidProof

ENTRY_BYTES = 32 + 65 + 20
"""One transaction: id, signature, expected sender."""


def begin() -> None:
    """Leave signals to the node, and end when the node is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def end_with_parent() -> None:
            wait([sentinel])
            os._exit(0)

        threading.Thread(target=end_with_parent, name="parent-watch", daemon=True).start()


def check_signatures(entries: bytes) -> bytes:
    """One byte per entry: 1 when the signature over the id is by the expected sender, else 0."""
    verdicts = bytearray()
    for start in range(0, len(entries), ENTRY_BYTES):
        digest = entries[start : start + 32]
        signature = entries[start + 32 : start + 97]
        sender = entries[start + 97 : start + ENTRY_BYTES]
        try:
            verdicts.append(recover_address(digest, signature) == sender)
        except InvalidProof:
            verdicts.append(0)
    return bytes(verdicts)
