"""Who may connect: configured peers, and the validators of the epochs that are near.

A validator's keys come from its epoch, a peer's address from [[peers]]; who is known in an epoch and not configured is
let in but not called. Entries of [[peers]] that are no validators (observers, or validators to be) name their keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from potchain.config.loading import NodeConfig
from potchain.config.sections import PeerSection
from potchain.crypto import parse_public_key
from potchain.errors import ConfigError, InvalidProof
from potchain.genesis import Epoch, Genesis, Validator
from potchain.primitives import Address, NodeId
from potchain.tables import nearest_hint
from potchain.transport import Peer

NO_ACCOUNT: Address = bytes(20)


class PeerDirectory:
    """The peers of one node in any epoch."""

    def __init__(
        self, config: NodeConfig, genesis: Genesis, epochs: Sequence[Epoch], me: NodeId, node_key: bytes
    ) -> None:
        """`epochs` are those near the start, `me` and `node_key` this node's own.

        Raises ConfigError for an entry without keys that no epoch knows.
        """
        self._me = me
        self._node_key = node_key
        self._addresses: dict[str, PeerSection] = {}
        self._configured: list[Validator] = []
        known = {member.name: member for epoch in (genesis.first_epoch, *epochs) for member in epoch.members}
        for peer in config.peers:
            if peer.name in self._addresses:
                raise ConfigError(f"peer {peer.name!r} stands twice in [[peers]]; remove one entry")
            self._addresses[peer.name] = peer
            if peer.node_key or peer.consensus_key:
                self._configured.append(_with_keys(peer))
            elif peer.name in known:
                self._configured.append(known[peer.name])
            else:
                raise ConfigError(
                    f"peer {peer.name!r} is no validator of genesis ({nearest_hint(peer.name, known)}), nor of the "
                    f"current epoch; a peer that is none needs its node_key and consensus_key here"
                )

    def peers(self, epochs: Sequence[Epoch]) -> tuple[Peer, ...]:
        """Validators of these epochs, then the configured peers; this node left out.

        Of one node id or node key that is listed twice the newest epoch's entry counts.
        """
        found: dict[NodeId, Peer] = {}
        taken = {self._node_key}
        newest_first = sorted(epochs, key=lambda epoch: epoch.number, reverse=True)
        listed = [member for epoch in newest_first for member in epoch.members]
        for member in (*listed, *self._configured):
            if member.node_id in found or member.node_id == self._me or member.node_key in taken:
                continue
            address = self._addresses.get(member.name)
            taken.add(member.node_key)
            found[member.node_id] = Peer(
                node_id=member.node_id,
                name=member.name,
                node_key=member.node_key,
                host=address.host if address else "",
                port=address.port if address else 0,
            )
        order = {name: place for place, name in enumerate(self._addresses)}
        return tuple(sorted(found.values(), key=lambda peer: (order.get(peer.name, len(order)), peer.name)))


def _with_keys(peer: PeerSection) -> Validator:
    node_key, consensus_key = _key(peer, "node_key", 32), _key(peer, "consensus_key", 33)
    try:
        parse_public_key(consensus_key)
    except InvalidProof as fault:
        raise ConfigError(f"peer {peer.name!r}: consensus_key: {fault}") from None
    return Validator(name=peer.name, node_key=node_key, consensus_key=consensus_key, operator=NO_ACCOUNT)


def _key(peer: PeerSection, field: str, size: int) -> bytes:
    text: str = getattr(peer, field)
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        data = b""
    if len(data) != size:
        raise ConfigError(f"peer {peer.name!r}: {field} must be 0x and {2 * size} hex digits, not {text!r}")
    return data
