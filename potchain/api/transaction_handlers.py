"""Handlers of transactions: submit, wait, look up, prove.

Where a transaction is: blocks that SQL rows have not reached (asked of the node), the pool, the rows, and last the
node's memory of what it dropped. The first two are asked in one go on the event loop, so nothing slips between them;
rows come before the memory of drops, because a transaction that was dropped here may have been executed all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from aiohttp import web

from potchain.api.context import ApiContext, answer, answer_document, answer_list, context_of
from potchain.api.parameters import WAIT_S, Query, path_hash
from potchain.api.payloads import BatchEntryPayload, DecidedPayload, SubmittedPayload, TransactionPayload
from potchain.api.ports import HistoryPort, SubmitOutcome
from potchain.api.problems import HttpProblem, problem_headers
from potchain.api.proving import prove
from potchain.api.rendering import executed_payload, hex_of, pending_payload
from potchain.api.submission import Unreadable, parse_batch, parse_body, parse_entry
from potchain.blocks import TransactionProof
from potchain.ledger.stored import Inclusion
from potchain.proofs import proof_to_json
from potchain.transactions import Transaction

REFUSED = "refused"
KNOWN = "known"


async def submit(request: web.Request) -> web.Response:
    """POST /v1/transactions: one, or an array."""
    query = Query(request, "wait", "timeout")
    wait, timeout_s = query.choice("wait", "", ("final", "decided")), query.seconds("timeout", WAIT_S)
    context = context_of(request)
    context.begin_submission()
    try:
        document = parse_body(await context.read_body(request))
        if isinstance(document, list):
            if wait:
                raise HttpProblem("bad_query", "wait takes one transaction, not an array")
            return await _submit_batch(context, document)
        transaction = parse_entry(document, context.port.types)
        (outcome,) = await _admit(context, [transaction])
    finally:
        context.end_submission()
    if outcome.status == REFUSED:
        raise HttpProblem(outcome.code, outcome.detail, transaction_id=outcome.id)
    if wait:
        return await _submitted_and_decided(context, transaction.id, wait == "final", timeout_s)
    location = {"Location": f"/v1/transactions/{hex_of(outcome.id)}"}
    return answer(SubmittedPayload(id=hex_of(outcome.id), status=outcome.status), status=202, headers=location)


async def _submit_batch(context: ApiContext, document: list[object]) -> web.Response:
    parsed = parse_batch(document, context.port.types, context.port.limits().submit_batch_max)
    places: dict[bytes, int] = {}
    distinct: list[Transaction] = []
    for item in parsed:
        if isinstance(item, Transaction) and item.raw not in places:
            places[item.raw] = len(distinct)
            distinct.append(item)
    outcomes = await _admit(context, distinct) if distinct else ()
    entries: list[BatchEntryPayload] = []
    answered: set[bytes] = set()
    for item in parsed:
        if isinstance(item, Unreadable):
            entries.append(BatchEntryPayload(id=None, status=REFUSED, code=item.code, detail=item.detail))
            continue
        outcome = outcomes[places[item.raw]]
        repeated = item.raw in answered
        answered.add(item.raw)
        if outcome.status == REFUSED:
            entries.append(
                BatchEntryPayload(id=hex_of(item.id), status=REFUSED, code=outcome.code, detail=outcome.detail)
            )
        else:
            entries.append(BatchEntryPayload(id=hex_of(item.id), status=KNOWN if repeated else outcome.status, code=""))
    full = any(entry.code == "pool_full" for entry in entries)
    return answer_list(entries, headers=problem_headers("pool_full") if full else None)


async def _admit(context: ApiContext, transactions: list[Transaction]) -> Sequence[SubmitOutcome]:
    # A client that hangs up must not leave half of its array admitted.
    outcomes = await asyncio.shield(asyncio.ensure_future(context.port.submit(transactions)))
    for outcome in outcomes:
        context.metrics.submitted.labels(outcome.status, outcome.code).inc()
    return outcomes


async def _submitted_and_decided(
    context: ApiContext, transaction_id: bytes, certified: bool, timeout_s: float
) -> web.Response:
    port = context.port
    done = await context.wait(port.wait_transaction(transaction_id, certified=certified, timeout_s=timeout_s))
    if not done:
        pending = port.pending(transaction_id)
        if pending is not None and pending.state == "dropped":
            raise HttpProblem(pending.code, pending.reason, transaction_id=transaction_id)
        aim = "final" if certified else "decided"
        detail = f"not {aim} after {timeout_s:g} s; the pool keeps it: GET /v1/transactions/{hex_of(transaction_id)}"
        raise HttpProblem("timeout", detail, transaction_id=transaction_id)
    inclusion, proof = await _included(context, transaction_id, with_proof=certified)
    if inclusion is None:
        raise HttpProblem("unavailable", "it was executed, but cannot be read here now", transaction_id=transaction_id)
    payload = _executed(context, inclusion)
    document = None if proof is None else proof_to_json(proof)
    return answer(DecidedPayload(**msgspec.structs.asdict(payload), proof=document))


async def transaction(request: web.Request) -> web.Response:
    """GET /v1/transactions/{id}."""
    Query(request)
    context, transaction_id = context_of(request), path_hash(request)
    port = context.port
    pending = None if port.recently_included(transaction_id) else port.pending(transaction_id)
    if pending is not None and pending.state == "pool":
        return answer(pending_payload(transaction_id, pending, port.pooled_transaction(transaction_id)))
    inclusion, _ = await _included(context, transaction_id, with_proof=False)
    if inclusion is not None:
        return answer(_executed(context, inclusion))
    if pending is not None:
        return answer(pending_payload(transaction_id, pending, port.pooled_transaction(transaction_id)))
    raise _unknown(transaction_id)


async def transaction_proof(request: web.Request) -> web.Response:
    """GET /v1/transactions/{id}/proof."""
    Query(request)
    context, transaction_id = context_of(request), path_hash(request)
    inclusion, proof = await _included(context, transaction_id, with_proof=True)
    if proof is not None:
        return answer_document(proof_to_json(proof))
    if inclusion is not None:
        detail = f"executed in block {inclusion.header.height}, which has no certificate here yet"
        raise HttpProblem("not_certified", detail, transaction_id=transaction_id)
    if context.port.pending(transaction_id) is not None:
        raise HttpProblem("not_found", "it is in no block; see its state", transaction_id=transaction_id)
    raise _unknown(transaction_id)


async def _included(
    context: ApiContext, transaction_id: bytes, *, with_proof: bool
) -> tuple[Inclusion | None, TransactionProof | None]:
    recent = context.port.recently_included(transaction_id)

    def query(history: HistoryPort) -> tuple[Inclusion | None, TransactionProof | None]:
        place = recent or history.locate(transaction_id)
        if place is None:
            return None, None
        return history.inclusion(*place), prove(history, *place) if with_proof else None

    return await context.read(query)


def _executed(context: ApiContext, inclusion: Inclusion) -> TransactionPayload:
    parsed = context.port.types.parse(inclusion.raw)
    return executed_payload(inclusion, parsed, context.port.event_types)


def _unknown(transaction_id: bytes) -> HttpProblem:
    detail = "this node knows no such transaction; it may be at another node, or was dropped long ago"
    return HttpProblem("not_found", detail, transaction_id=transaction_id)
