"""Handlers of settlement and governance: what the ledger owes, what it asks of Layer 2, what operators decide.

The state says what is open, rows say what has been; both are true of the highest block, and rows of settlement never
lag. Rows are read first and the state last, since it cannot change until the answer is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from potchain.api.context import ApiContext, answer, context_of
from potchain.api.parameters import Query, parse_account, path_address, path_number
from potchain.api.ports import HistoryPort
from potchain.api.problems import HttpProblem
from potchain.api.rendering import hex_of
from potchain.api.settlement_payloads import ActionsPayload, ClaimPayload, PayoutsPayload, ProposalsPayload
from potchain.api.settlement_rendering import (
    People,
    action_detail_payload,
    action_payload,
    payout_payload,
    proposal_payload,
    row_with,
    settlement_payload,
)
from potchain.application.governance.records import proposal
from potchain.application.settlement import records
from potchain.application.settlement.roots import root_claim
from potchain.crypto import checksum_address
from potchain.ledger.settlement_reader import PAYOUT_STATUSES, ProposalRow
from potchain.transactions import TransactionBody

ANY = "any"


async def settlement(request: web.Request) -> web.Response:
    """GET /v1/settlement."""
    Query(request)
    context = context_of(request)
    newest = await context.read(lambda history: history.settlement.actions_page(None, records.ACTIONS_OPEN_MAX))
    port = context.port
    binding = records.counters(port.state()).binding
    rows = {row.nonce: row for row in newest if row.binding == binding}
    people = People(port.epoch())
    return answer(settlement_payload(port.state(), port.status().height, rows, port.settlement(), people))


async def settlement_actions(request: web.Request) -> web.Response:
    """GET /v1/settlement/actions, newest first."""
    query = Query(request, "cursor", "limit")
    before, limit = query.optional_place("cursor"), query.limit()
    found = await context_of(request).read(lambda history: history.settlement.actions_page(before, limit + 1))
    page = found[:limit]
    return answer(
        ActionsPayload(
            actions=[action_payload(row) for row in page],
            next=f"{page[-1].binding}.{page[-1].nonce}" if len(found) > limit else None,
        )
    )


async def settlement_action(request: web.Request) -> web.Response:
    """GET /v1/settlement/actions/{nonce}; of the bound contract unless `binding` says otherwise."""
    query = Query(request, "binding")
    nonce = path_number(request, "nonce")
    context = context_of(request)
    port = context.port
    bound = records.counters(port.state()).binding
    binding = query.integer("binding", bound, most=records.BINDINGS_MAX)
    row, event = await context.read(
        lambda history: (history.settlement.action(binding, nonce), history.settlement.event_of(binding, nonce))
    )
    state = port.state()
    record = records.action(state, nonce) if binding == records.counters(state).binding else None
    if record is not None:
        row = row_with(row, binding, record, port.status().height)
    if row is None:
        raise HttpProblem("not_found", f"no action {nonce} of contract {binding}; {bound} contracts were bound so far")
    reports = {report.nonce: report for report in port.settlement().report.actions if row.status != "executed"}
    report = reports.get(nonce) if binding == bound else None
    return answer(action_detail_payload(row, state, record, report, event, People(port.epoch())))


async def settlement_claim(request: web.Request) -> web.Response:
    """GET /v1/settlement/claims/{address}."""
    query, address = Query(request, "binding"), path_address(request)
    state = context_of(request).port.state()
    bound = records.counters(state).binding
    binding = query.integer("binding", bound, most=records.BINDINGS_MAX)
    contract, claim = records.bound_contract(state, binding), root_claim(state, address, binding)
    if contract is None or claim is None:
        raise HttpProblem(
            "not_found",
            f"no executed root of contract {binding} promises anything to {checksum_address(address)}; {bound} "
            f"contracts were bound so far",
        )
    return answer(
        ClaimPayload(
            account=checksum_address(address),
            cumulative=str(claim.cumulative),
            proof=[hex_of(node) for node in claim.branch],
            root=hex_of(claim.root),
            contract=checksum_address(contract.address),
            chain_id=contract.chain_id,
        )
    )


async def payouts(request: web.Request) -> web.Response:
    """GET /v1/payouts, newest first."""
    query = Query(request, "account", "status", "cursor", "limit")
    account, before, limit = parse_account(query.text("account")), query.optional_height("cursor"), query.limit()
    chosen = query.choice("status", ANY, PAYOUT_STATUSES)
    status = next((each for each in PAYOUT_STATUSES if each == chosen), None)
    found = await context_of(request).read(
        lambda history: history.settlement.payouts_page(account=account, status=status, before=before, limit=limit + 1)
    )
    page = found[:limit]
    return answer(
        PayoutsPayload(
            payouts=[payout_payload(row) for row in page], next=str(page[-1].id) if len(found) > limit else None
        )
    )


async def payout(request: web.Request) -> web.Response:
    """GET /v1/payouts/{number}."""
    Query(request)
    number = path_number(request, "number")
    row = await context_of(request).read(lambda history: history.settlement.payout(number))
    if row is None:
        raise HttpProblem("not_found", f"no payout {number} here")
    return answer(payout_payload(row))


async def proposals(request: web.Request) -> web.Response:
    """GET /v1/governance/proposals, newest first."""
    query = Query(request, "cursor", "limit")
    before, limit = query.optional_place("cursor"), query.limit()
    context = context_of(request)
    found = await context.read(lambda history: history.settlement.proposals_page(before, limit + 1))
    page = found[:limit]
    bodies = await _bodies(context, page)
    state, people = context.port.state(), People(context.port.epoch())
    return answer(
        ProposalsPayload(
            proposals=[
                proposal_payload(row, proposal(state, row.id) if row.outcome is None else None, body, people)
                for row, body in zip(page, bodies, strict=True)
            ],
            next=f"{page[-1].height}.{page[-1].position}" if len(found) > limit else None,
        )
    )


async def _bodies(context: ApiContext, page: Sequence[ProposalRow]) -> list[TransactionBody | None]:
    """What was proposed, from the transactions themselves; None where one is not found."""
    recent = [context.port.recently_included(row.id) for row in page]

    def query(history: HistoryPort) -> list[bytes | None]:
        found = []
        for row, place in zip(page, recent, strict=True):
            where = place or history.locate(row.id)
            inclusion = None if where is None else history.inclusion(*where)
            found.append(None if inclusion is None else inclusion.raw)
        return found

    types = context.port.types
    return [None if raw is None else types.parse(raw).body for raw in await context.read(query)]
