"""What a node waits for, in words: every kind of wait, and which one explains the others."""

from __future__ import annotations

import msgspec
import pytest
from core_network import make_genesis

from potchain.api.ports import Wait
from potchain.consensus.interface import EngineStatus, SlotStatus
from potchain.gateway.waiting import NO_WORK, SEQUENCES_SHOWN, Picture, waiting_for, waits_of

EPOCH = make_genesis(validators=4).first_epoch


def slot(sequence: int, phase: str = "preparing", **missing: list[str]) -> SlotStatus:
    return SlotStatus(sequence=sequence, phase=phase, digest=None, held={}, missing=missing)


def engine(*in_flight: SlotStatus, view_change: SlotStatus | None = None) -> EngineStatus:
    return EngineStatus(
        view=2,
        primary=EPOCH.ids[2],
        mode="normal" if view_change is None else "view change",
        low_water_mark=0,
        high_water_mark=128,
        last_decided=4,
        in_flight=in_flight,
        view_change=view_change,
        view_timeout_ns=2_000_000_000,
        buffers={},
    )


IDLE = Picture(
    applied=120,
    credible_height=120,
    is_behind=False,
    engine=engine(),
    primary="node2",
    is_primary=False,
    connected=("node0", "node2", "node3"),
)


def with_(**fields: object) -> Picture:
    return msgspec.structs.replace(IDLE, **fields)


def texts(picture: Picture) -> list[str]:
    return [wait.text for wait in waits_of(picture)]


def test_an_idle_node_waits_for_nothing() -> None:
    assert waits_of(IDLE) == ()
    assert waiting_for(()) == NO_WORK


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (with_(standing="asking: no answers yet"), "the right to vote (asking: no answers yet)"),
        (
            with_(standing="asking: waiting for 2 more", unanswered=("node0", "node3")),
            "the right to vote (asking: waiting for 2 more; no answer from node0, node3)",
        ),
        (with_(is_behind=True, credible_height=184), "blocks 121 to 184 from peers"),
        (with_(asked=("node2", 310), credible_height=121), "blocks 121 from node2"),
        (
            with_(engine=engine(view_change=slot(0, "to view 2", **{"view-change": ["node0", "node3"]}))),
            "an active view (to view 2): view-change from node0, node3",
        ),
        (
            with_(engine=engine(slot(5, "prepared", commit=["node0"], prepare=["node3"]))),
            "sequence 5 (prepared): commit from node0; prepare from node3",
        ),
        (with_(engine=engine(slot(5, "checking"))), "sequence 5 (checking): this node itself"),
        (
            with_(transactions=12, transactions_ms=3_400),
            "a proposal from primary node2 (connected) of 12 transactions, waiting for 3400 ms",
        ),
        (
            with_(transactions=1, transactions_ms=5, connected=("node0",), unconnected=("node2", "node3")),
            "a proposal from primary node2 (not connected) of 1 transaction, waiting for 5 ms",
        ),
        (
            with_(transactions=2, transactions_ms=7, is_primary=True),
            "this node, the primary, to propose 2 transactions, waiting for 7 ms",
        ),
        (
            with_(ends=(12, 1)),
            "primary node2 to fill up to the end of the epoch (sequences 5 to 12); epoch 1 follows",
        ),
        (
            with_(ends=(12, 1), is_primary=True),
            "this node, the primary, to fill up to the end of the epoch (sequences 5 to 12); epoch 1 follows",
        ),
        (with_(ends=(4, 1)), "block 4, with which epoch 1 begins, to be executed and certified here"),
        (with_(uncertified={7: ["node0", "node1"]}), "block votes for height 7 from node0, node1"),
        (with_(uncertified={7: []}), "block votes for height 7 from this node itself"),
        (with_(steps_held=3, batches_queued=2), "the disk of the vote log: 3 batches wait for it"),
        (with_(batches_queued=1), "the disk of the vote log: 1 batch waits for it"),
        (with_(blocks_queued=4), "the disk of the ledger: 4 of blocks and certificates are queued"),
    ],
)
def test_each_wait_in_words(picture: Picture, said: str) -> None:
    assert texts(picture)[0] == said
    assert waiting_for(waits_of(picture)) == said


def test_heights_in_a_row_that_lack_the_same_votes_share_a_sentence() -> None:
    gone = ["node0", "node3"]
    assert texts(with_(uncertified={4: gone, 5: gone, 6: gone, 7: ["node0"], 9: ["node0"]})) == [
        "block votes for heights 4 to 6 from node0, node3",
        "block votes for height 7 from node0",
        "block votes for height 9 from node0",
    ]


def test_of_many_sequences_the_rest_is_counted() -> None:
    slots = [slot(sequence, prepare=["node0"]) for sequence in range(5, 5 + SEQUENCES_SHOWN + 3)]
    said = texts(with_(engine=engine(*slots)))
    assert len(said) == SEQUENCES_SHOWN + 1
    assert said[-1] == f"3 more sequences, up to {slots[-1].sequence}"


def test_a_peer_that_is_away_is_no_reason_by_itself_but_is_told() -> None:
    picture = with_(connected=("node0",), unconnected=("node2", "node3"))
    (wait,) = waits_of(picture)
    assert wait == Wait(
        kind="peers",
        text="connections to node2, node3 (1 of 3 peers are connected)",
        missing=("node2", "node3"),
    )
    assert waiting_for((wait,)) == NO_WORK


def test_what_explains_the_rest_comes_first() -> None:
    everything = with_(
        standing="learner until height 300 is stable",
        is_behind=True,
        credible_height=184,
        asked=("node2", 310),
        engine=engine(slot(121, prepare=["node0"]), view_change=slot(0, "view change", **{"new-view": ["node2"]})),
        transactions=3,
        transactions_ms=1,
        uncertified={120: ["node3"]},
        steps_held=1,
        blocks_queued=1,
        connected=("node0",),
        unconnected=("node2", "node3"),
    )
    waits = waits_of(everything)
    assert [wait.kind for wait in waits] == [
        "standing", "blocks", "view", "sequence", "proposal", "certificates", "disk", "disk", "peers",
    ]  # fmt: skip
    assert waiting_for(waits) == "the right to vote (learner until height 300 is stable)"
    by_kind = {wait.kind: wait for wait in waits}
    assert (by_kind["blocks"].missing, by_kind["blocks"].since_ms) == (("node2",), 310)
    assert by_kind["view"].missing == ("node2",)
    assert by_kind["sequence"].sequence == 121
    assert by_kind["proposal"].text == "a primary to propose 3 transactions, waiting for 1 ms"
    assert by_kind["certificates"].sequence == 120
