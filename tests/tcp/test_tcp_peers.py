"""Peers that come and go while the transport runs, as validators do with the epochs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from tcp_network import HOST, LOOPS, Node, closed, free_port, node_id_of, node_key_of, run

from potchain import Peer, TransportError


def peer(index: int, port: int = 0) -> Peer:
    return Peer(node_id=node_id_of(index), name=f"node{index}", node_key=node_key_of(index), host=HOST, port=port)


async def started(*nodes: Node) -> None:
    for node in nodes:
        await node.transport.start()


def told(node: Node, other: int) -> list[str]:
    return [what for what, who, _ in node.story if who == other]


async def three(known: Sequence[int]) -> tuple[Node, Node, Node]:
    """Node 0, which knows some of the others, and two that dial it."""
    first = Node(0, [0, *([0] * 2)])
    first.transport.set_peers([peer(index) for index in known])
    await started(first)
    others = [Node(index, [first.transport.listen_port, 0, 0][: 2 if index == 1 else 3]) for index in (1, 2)]
    await started(*others)
    return first, others[0], others[1]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_new_peer_is_let_in_and_those_that_stay_notice_nothing(loop: str) -> None:
    async def scenario() -> None:
        first, second, third = await three([1])
        await first.connected_to(1)
        await third.told("hung up before its greeting")
        assert not third.is_connected(0)
        first.transport.set_peers([peer(1), peer(2)])
        await first.connected_to(1, 2)
        await third.connected_to(0)
        assert told(first, 1) == ["connected"]
        assert first.send(2, b"welcome")
        assert first.send(1, b"still here")
        await third.until(lambda: third.got(0) == [b"welcome"])
        await second.until(lambda: second.got(0) == [b"still here"])
        await closed(first, second, third)

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_peer_that_is_none_any_more_is_cut_off_and_does_not_come_back(loop: str) -> None:
    async def scenario() -> None:
        first, second, third = await three([1, 2])
        await first.connected_to(1, 2)
        first.transport.set_peers([peer(2)])
        await second.told("no peer any more")
        assert told(first, 1) == ["connected", "disconnected"]
        assert not first.send(1, b"anything")
        assert [status.name for status in first.transport.peers()] == ["node2"]
        before = first.transport.refused_handshakes
        await second.told("hung up before its greeting")
        assert first.transport.refused_handshakes > before or not second.is_connected(0)
        assert told(first, 2) == ["connected"]
        assert told(first, 1) == ["connected", "disconnected"]
        await closed(first, second, third)

    run(scenario(), loop)


def test_a_new_peer_is_called_and_a_gone_one_not_any_more() -> None:
    async def scenario() -> None:
        port = free_port()
        first, second = Node(0, [0]), Node(1, [0, port])
        await started(first)
        first.transport.set_peers([peer(1, port)])
        await first.told("cannot connect")
        await started(second)
        await first.connected_to(1)
        first.transport.set_peers([])
        await second.told("no peer any more")
        assert first.transport.peers() == ()
        # Of a peer that nobody dials any more no task is left; `run` checks it for all of them at the end.
        first.transport.set_peers([peer(1, port)])
        await first.connected_to(1)
        await closed(first, second)

    run(scenario())


def test_a_peer_with_another_address_is_met_anew() -> None:
    async def scenario() -> None:
        first, second, third = await three([1])
        await first.connected_to(1)
        moved = peer(1, free_port())
        first.transport.set_peers([moved])
        await first.until(lambda: told(first, 1).count("connected") == 2)
        assert first.transport.peers()[0].address == f"{HOST}:{moved.port}"
        await closed(first, second, third)

    run(scenario())


def test_peers_that_cannot_be_told_apart_change_nothing() -> None:
    async def scenario() -> None:
        first, second, third = await three([1])
        await first.connected_to(1)
        thief = msgspec.structs.replace(peer(2), node_key=node_key_of(1))
        own_key = msgspec.structs.replace(peer(2), node_key=node_key_of(0))
        for listed in ([peer(1), thief], [own_key], [msgspec.structs.replace(peer(2), node_key=b"short")]):
            with pytest.raises(TransportError):
                first.transport.set_peers(listed)
        assert [status.name for status in first.transport.peers()] == ["node1"]
        assert told(first, 1) == ["connected"]
        await closed(first, second, third)
        first.transport.set_peers([peer(1), peer(2)])
        assert [status.name for status in first.transport.peers()] == ["node1"], "it is closed"

    run(scenario())
