"""Signature checks that are really made, once for all nodes of a run: a frame that goes to three nodes costs one.

What is remembered is the verdict on (key, bytes, signature), good or bad, so a forged or damaged signature is refused
by every node just as without the memory.
"""

from __future__ import annotations

import asyncio

from coincurve import PublicKey

from potchain.crypto import SigningKey, verify_vote
from potchain.driver import verify_worker
from potchain.primitives import NS_PER_S

VERDICTS_MAX = 1_000_000
"""Verdicts that are remembered; at the bound all are forgotten, which costs time and changes nothing else."""
CHECK_S = 200_000 / NS_PER_S
"""How long a check of transactions takes in virtual time."""


class VerificationMemory:
    """Verdicts on votes and transactions."""

    def __init__(self) -> None:
        self._votes: dict[tuple[bytes, bytes, bytes], bool] = {}
        self._entries: dict[bytes, bytes] = {}
        self._keys: dict[int, tuple[PublicKey, bytes]] = {}
        self.checked = 0
        """Signatures that were computed."""

    def key(self, secret: bytes) -> SigningKey:
        """A consensus key whose own signatures are known to be good."""
        return _RememberedKey(secret, self._votes)

    def verify_vote(self, key: PublicKey, message: bytes, signature: bytes) -> bool:
        """As `crypto.verify_vote`."""
        held = self._keys.get(id(key))
        if held is None or held[0] is not key:
            held = self._keys[id(key)] = (key, key.format())
        place = (held[1], message, signature)
        verdict = self._votes.get(place)
        if verdict is None:
            if len(self._votes) >= VERDICTS_MAX:
                self._votes.clear()
            self.checked += 1
            verdict = self._votes[place] = verify_vote(key, message, signature)
        return verdict

    async def check_signatures(self, entries: bytes) -> bytes:
        """As `verify_worker.check_signatures`, after the time that a worker would take."""
        await asyncio.sleep(CHECK_S)
        verdicts = []
        for start in range(0, len(entries), verify_worker.ENTRY_BYTES):
            entry = entries[start : start + verify_worker.ENTRY_BYTES]
            verdict = self._entries.get(entry)
            if verdict is None:
                if len(self._entries) >= VERDICTS_MAX:
                    self._entries.clear()
                self.checked += 1
                verdict = self._entries[entry] = verify_worker.check_signatures(entry)
            verdicts.append(verdict)
        return b"".join(verdicts)


class _RememberedKey(SigningKey):
    """Signs as any key does; who signs need not check."""

    def __init__(self, secret: bytes, votes: dict[tuple[bytes, bytes, bytes], bool]) -> None:
        super().__init__(secret)
        self._votes = votes

    def sign_vote(self, message: bytes) -> bytes:
        """64-byte signature over sha256(message)."""
        signature = super().sign_vote(message)
        self._votes[self.public_key, message, signature] = True
        return signature
