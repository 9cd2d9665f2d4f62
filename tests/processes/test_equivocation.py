"""A validator that votes twice, on a real network: all get the evidence, keep it, and can show it to a stranger."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from click.testing import CliRunner
from double_votes import block_votes
from live_network import LiveNetwork

from potchain.cli.program import potchain
from potchain.client import NodeClient
from potchain.config import load_config
from potchain.keyfiles import load_validator_keys
from potchain.primitives import NodeId
from potchain.replica import wire
from potchain.transport import Channel, Peer, TransportConfig, TransportEvents
from potchain.typed_data import JsonObject
from potchain_tcp import TcpOptions, TcpTransport

LIAR = 3
WAIT_S = 20


async def vote_twice(live: LiveNetwork, height: int) -> NodeId:
    """Connect as the liar to node 0 and send it two block votes for one height; the liar's id."""
    home, genesis = live.home(LIAR), live.network.genesis()
    config, keys = load_config(home, os.environ), load_validator_keys(home)
    connected: asyncio.Queue[NodeId] = asyncio.Queue()
    events = TransportEvents(
        received=lambda peer, channel, frames: None,
        connected=connected.put_nowait,
        disconnected=lambda peer, reason: None,
    )
    members = {member.name: member for member in genesis.first_epoch.members}
    peers = tuple(
        Peer(
            node_id=members[peer.name].node_id,
            name=peer.name,
            node_key=members[peer.name].node_key,
            host=peer.host,
            port=peer.port,
        )
        for peer in config.peers
    )
    transport = TcpTransport(
        TransportConfig(
            me=keys.node_id,
            node_key_secret=keys.node_secret,
            genesis_hash=genesis.hash,
            listen_host=config.transport.listen_host,
            listen_port=config.transport.listen_port,
            peers=peers,
        ),
        events,
        TcpOptions(),
    )
    await transport.start()
    try:
        async with asyncio.timeout(WAIT_S):
            seen = {await connected.get() for _ in peers}
            assert seen == {peer.node_id for peer in peers}
            for message in block_votes(genesis, keys.consensus, height):
                transport.send(genesis.first_epoch.ids[0], Channel.VOTES, wire.encode_frame(message))
            await evidence_at(live, 0)  # the session must live until the frames are through
    finally:
        await transport.close()
    return keys.node_id


async def evidence_at(live: LiveNetwork, node: int) -> list[JsonObject]:
    """What a node lists, once it lists anything."""
    async with asyncio.timeout(WAIT_S), NodeClient(live.urls[node]) as client:
        while not (found := (await client.get("/v1/evidence"))["evidence"]):
            await asyncio.sleep(0.05)
    return list(found)


def test_a_double_vote_reaches_every_node_survives_a_restart_and_convinces_a_stranger(
    idle: LiveNetwork, tmp_path: Path
) -> None:
    idle.start(0, 1, 2)
    accused = asyncio.run(vote_twice(idle, 5))
    found = [asyncio.run(evidence_at(idle, node)) for node in range(3)]
    pieces = {tuple(piece["id"] for piece in pieces) for pieces in found}
    assert len(pieces) == 1, "all hold the same piece, once"
    ((piece_id,),) = pieces
    assert found[2][0]["accused"] == {"node_id": "0x" + accused.hex(), "name": "node3"}
    idle.kill(2)
    idle.start(2)
    assert [piece["id"] for piece in asyncio.run(evidence_at(idle, 2))] == [piece_id]
    assert idle.get(2, "/v1/status")["evidence"] == {"node3": 1}
    file, genesis = str(tmp_path / "double.evidence"), str(idle.network.folder / "genesis.json")
    for command in (
        ["evidence", "get", str(piece_id), "--out", file, "--url", idle.urls[2]],
        ["verify", "evidence", file, "--genesis", genesis],
    ):
        result = CliRunner().invoke(potchain, command)
        assert result.exit_code == 0, (result.output, result.exception)
    assert "node3 signed two messages" in result.output
    idle.pay(1, 3)  # one liar harms nobody
