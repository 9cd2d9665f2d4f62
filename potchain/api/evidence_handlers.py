"""Handlers of the evidence that this node keeps: a list for people and programs, one piece as bytes for a verifier.

The bytes are an `EvidenceProof`: with the epoch links from the ledger the genesis file alone checks them.
"""

from __future__ import annotations

from aiohttp import web

from potchain.api.context import answer, context_of
from potchain.api.evidence_payloads import EvidenceListPayload, EvidencePayload, SignedMessagePayload
from potchain.api.node_payloads import MemberPayload
from potchain.api.parameters import Query, path_hash
from potchain.api.ports import HistoryPort
from potchain.api.problems import HttpProblem
from potchain.api.proving import epoch_links
from potchain.api.rendering import hex_of
from potchain.codec import encode
from potchain.evidence import EvidenceProof, evidence_id, signed_messages
from potchain.genesis import Epoch
from potchain.ledger.evidence import StoredEvidence


async def evidence_list(request: web.Request) -> web.Response:
    """GET /v1/evidence."""
    query = Query(request, "cursor", "limit")
    after, limit = query.optional_height("cursor") or 0, query.limit()
    context = context_of(request)
    found, epochs = await context.read(
        lambda history: (history.evidence_page(after, limit + 1), {each.number: each for each in history.epochs()})
    )
    page = found[:limit]
    genesis_hash = context.port.genesis.hash
    return answer(
        EvidenceListPayload(
            evidence=[evidence_payload(stored, epochs.get(stored.evidence.epoch), genesis_hash) for stored in page],
            next=str(page[-1].number) if len(found) > limit else None,
        )
    )


async def evidence(request: web.Request) -> web.Response:
    """GET /v1/evidence/{id}."""
    Query(request)
    name = path_hash(request)
    proof = await context_of(request).read(lambda history: _proof(history, name))
    if proof is None:
        raise HttpProblem("not_found", f"no evidence 0x{name.hex()} here")
    return web.Response(body=encode(proof), content_type="application/octet-stream")


def evidence_payload(stored: StoredEvidence, epoch: Epoch | None, genesis_hash: bytes) -> EvidencePayload:
    """One piece; `epoch` gives the name of the accused."""
    piece = stored.evidence
    first, second = (
        SignedMessagePayload(digest=hex_of(vote.digest), signed=hex_of(signed), signature=hex_of(vote.signature))
        for vote, signed in zip((piece.first, piece.second), signed_messages(piece, genesis_hash), strict=True)
    )
    accused = hex_of(piece.accused)
    return EvidencePayload(
        id=hex_of(evidence_id(piece)),
        accused=MemberPayload(node_id=accused, name=accused if epoch is None else epoch.name_of(piece.accused)),
        epoch=piece.epoch,
        kind=piece.kind,
        view=piece.view,
        sequence=piece.sequence,
        seen_ms=stored.seen_ms,
        first=first,
        second=second,
    )


def _proof(history: HistoryPort, name: bytes) -> EvidenceProof | None:
    stored = history.evidence(name)
    if stored is None:
        return None
    return EvidenceProof(stored.evidence, tuple(epoch_links(history, stored.evidence.epoch)))
