"""Evidence over HTTP and on the command line, and what `status --why` says, against a real server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
from api_browser import on_loop, serving
from api_node import PaperNode
from click.testing import CliRunner
from core_network import quorum_of
from double_votes import double_vote

from potchain.cli.program import potchain
from potchain.codec import decode, encode
from potchain.consensus.interface import SlotStatus
from potchain.crypto import parse_public_key, verify_vote
from potchain.errors import CodecError, InvalidProof
from potchain.evidence import EvidenceProof, evidence_id, verify_evidence_proof
from potchain.genesis_file import render_genesis
from potchain.ledger.evidence import StoredEvidence


def accused_node(pieces: int) -> PaperNode:
    node = PaperNode()
    node.history.pieces = [
        StoredEvidence(number=3 * at + 1, seen_ms=at, evidence=double_vote(node.genesis, 3, at + 1))
        for at in range(pieces)
    ]
    return node


@on_loop
async def test_pages_of_evidence_join_and_each_piece_can_be_checked_by_a_stranger() -> None:
    node = accused_node(5)
    async with serving(node) as browser:
        found = []
        cursor = "0"
        while cursor:
            page = (await browser.get(f"/v1/evidence?limit=2&cursor={cursor}")).body
            found += page["evidence"]
            cursor = page["next"]
        empty = (await browser.get("/v1/evidence?cursor=99")).body
        status = (await browser.get("/v1/status")).body
        metrics = (await browser.get("/metrics")).body.decode()
    assert [entry["sequence"] for entry in found] == [1, 2, 3, 4, 5]
    assert empty == {"evidence": [], "next": None}
    member = node.epoch().members[3]
    for entry in found:
        assert entry["accused"] == {"node_id": "0x" + member.node_id.hex(), "name": "v3"}
        for message in (entry["first"], entry["second"]):
            signed, signature = (bytes.fromhex(message[name][2:]) for name in ("signed", "signature"))
            assert verify_vote(parse_public_key(member.consensus_key), signed, signature)
            assert bytes.fromhex(message["digest"][2:]) in signed
    assert status["evidence"] == {"v3": 5}
    assert 'potchain_evidence_total{member="v3"} 5.0' in metrics


@on_loop
async def test_one_piece_comes_as_the_bytes_that_the_offline_check_takes() -> None:
    node = accused_node(1)
    piece = node.history.pieces[0].evidence
    async with serving(node) as browser:
        answer = await browser.get(f"/v1/evidence/0x{evidence_id(piece).hex()}")
        absent = await browser.get("/v1/evidence/0x" + "00" * 32)
        bad = await browser.get("/v1/evidence/7")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    proof = decode(EvidenceProof, answer.body)
    assert proof == EvidenceProof(piece, ())
    assert verify_evidence_proof(proof, node.genesis, quorum_of) == node.epoch()
    assert (absent.status, absent.code) == (404, "not_found")
    assert (bad.status, bad.code) == (400, "bad_query")


@on_loop
async def test_the_commands_list_fetch_and_check(tmp_path: Path) -> None:
    node = accused_node(2)
    piece = node.history.pieces[1].evidence
    file = tmp_path / "double.evidence"
    async with serving(node) as browser:
        listed = await _run("evidence", "list", "--url", browser.url)
        listed_json = await _run("evidence", "list", "--json", "--url", browser.url)
        got = await _run("evidence", "get", "0x" + evidence_id(piece).hex(), "--out", str(file), "--url", browser.url)
        node.history.pieces = []
        none = await _run("evidence", "list", "--url", browser.url)
    assert [line.split()[:5] for line in listed.splitlines()] == [
        ["accused", "epoch", "kind", "view", "sequence"],
        ["v3", "0", "block-vote", "0", "1"],
        ["v3", "0", "block-vote", "0", "2"],
    ]
    assert [entry["sequence"] for entry in json.loads(listed_json)] == [1, 2]
    assert f"potchain verify evidence {file}" in got
    assert none == "no evidence\n"
    assert file.read_bytes() == encode(EvidenceProof(piece, ()))


def test_a_piece_is_checked_offline_with_the_genesis_file_alone(tmp_path: Path) -> None:
    node = accused_node(1)
    piece = node.history.pieces[0].evidence
    files = {name: str(tmp_path / name) for name in ("genesis.json", "other.json", "good", "forged", "rubbish")}
    Path(files["genesis.json"]).write_bytes(render_genesis(node.genesis))
    Path(files["other.json"]).write_bytes(render_genesis(PaperNode(alice=1).genesis))
    Path(files["good"]).write_bytes(encode(EvidenceProof(piece, ())))
    forged = msgspec.structs.replace(piece, sequence=2)
    Path(files["forged"]).write_bytes(encode(EvidenceProof(forged, ())))
    Path(files["rubbish"]).write_bytes(b"rubbish")
    good = CliRunner().invoke(potchain, ["verify", "evidence", files["good"], "--genesis", files["genesis.json"]])
    assert good.exit_code == 0, good.exception
    assert good.output.splitlines()[0].startswith("the evidence holds: v3 signed two messages")
    for name, genesis, fault in (
        ("forged", "genesis.json", InvalidProof),
        ("good", "other.json", InvalidProof),
        ("rubbish", "genesis.json", CodecError),
    ):
        command = ["verify", "evidence", files[name], "--genesis", files[genesis], "--json"]
        assert isinstance(CliRunner().invoke(potchain, command).exception, fault), name


@on_loop
async def test_why_names_what_is_missing_and_when_the_node_acts() -> None:
    node = PaperNode()
    node.is_syncing = True
    async with serving(node) as browser:
        said = await _run("status", "--why", "--url", browser.url)
        document = json.loads(await _run("status", "--why", "--json", "--url", browser.url))
        node.view_change = SlotStatus(
            sequence=0, phase="view change", digest=None, held={"view-change": ["v0"]}, missing={"view-change": ["v1"]}
        )
        changing = (await browser.get("/v1/consensus")).body
    assert said.splitlines() == [
        "stalled: waits for sequence 9 (preparing): prepare from v1, v2",
        "also for a proposal from primary v0 (connected) of 1 transaction",
        "this node: voting",
        "epoch 0, view 0 (normal), primary v0; it may leave work undone for 2,000 ms",
        "in 500 ms the node looks whether it makes progress, and if not sends its messages again",
        "in 1,500 ms the node asks for another primary if the oldest sequence in flight is not decided",
        "in 1,600 ms the node hears its engine's timer 'own'",
    ]
    assert document["waits"][0] == {
        "kind": "sequence", "text": "sequence 9 (preparing): prepare from v1, v2", "missing": ["v1", "v2"],
        "sequence": 9, "since_ms": None,
    }  # fmt: skip
    assert document["timers"] == [
        {"name": "tick", "in_ms": 500},
        {"name": "engine:agreement", "in_ms": 1_500},
        {"name": "engine:own", "in_ms": 1_600},
    ]
    assert (document["view_change"], document["view_timeout_ms"]) == (None, 2_000)
    assert changing["view_change"]["missing"] == {"view-change": ["v1"]}


async def _run(*words: str) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, potchain, words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output
