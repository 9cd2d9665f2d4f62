"""Handlers that answer from the ledger: blocks and accounts.

Pages are by keyset, never by offset: heights are dense, and an account's history is ordered by (height, index). History
rows may lag behind; the node knows the blocks above them, and a page is the merge of both.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from potchain.api.context import ApiContext, answer, answer_document, context_of
from potchain.api.parameters import Query, path_address, path_block
from potchain.api.payloads import AccountPayload, BlocksPayload, HistoryPayload
from potchain.api.ports import HistoryPort
from potchain.api.problems import HttpProblem
from potchain.api.rendering import full_block, history_entry, listed_block
from potchain.crypto import checksum_address
from potchain.ledger.stored import Inclusion, StoredBlock
from potchain.proofs import proof_to_json

PAGE_IDS_MAX = 10_000
"""A page with transaction ids ends early, but never empty, before it holds more of them."""


async def blocks(request: web.Request) -> web.Response:
    """GET /v1/blocks: newest first below `before`, or ascending above `after`, which may wait for the first."""
    query = Query(request, "before", "after", "limit", "wait", "certified", "ids")
    before, after = query.optional_height("before"), query.optional_height("after")
    if before is not None and after is not None:
        raise HttpProblem("bad_query", "give before or after, not both")
    if "wait" in query and after is None:
        raise HttpProblem("bad_query", "wait goes with after: only new blocks can be waited for")
    limit, wait_s, certified = query.limit(), query.seconds("wait", 0), query.flag("certified")
    context, with_ids = context_of(request), query.flag("ids")
    tip = _tip(context, certified)
    if after is not None:
        if tip <= after and wait_s:
            await context.wait(context.port.wait_height(after + 1, certified=certified, timeout_s=wait_s))
            tip = _tip(context, certified)
        edge, top = after, tip
    else:
        top = tip if before is None else min(before - 1, tip)
        edge = top + 1
    ascending = after is not None
    page: Sequence[StoredBlock] = ()
    if top > edge if ascending else top >= 0:
        page = await context.read(
            lambda history: [
                block
                for block in history.blocks_page(edge, limit, ascending=ascending)
                if block.header.height <= top
            ]
        )
    if with_ids:
        page = _with_few_ids(page)
    following = page[-1].header.height if page else after
    if following == 0 and not ascending:
        following = None
    return answer(BlocksPayload(blocks=[listed_block(entry, with_ids=with_ids) for entry in page], next=following))


def _tip(context: ApiContext, certified: bool) -> int:
    status = context.port.status()
    return status.certified_height if certified else status.height


def _with_few_ids(page: Sequence[StoredBlock]) -> Sequence[StoredBlock]:
    """As many blocks from the start as PAGE_IDS_MAX allows, and at least one."""
    left = PAGE_IDS_MAX
    for count, entry in enumerate(page):
        left -= entry.header.tx_count
        if left < 0 and count:
            return page[:count]
    return page


async def block(request: web.Request) -> web.Response:
    """GET /v1/blocks/{height or hash}."""
    Query(request)
    name = path_block(request)
    context = context_of(request)
    record = await context.read(lambda history: _find_block(history, name))
    if record is None:
        shown = name if isinstance(name, int) else "0x" + name.hex()
        raise HttpProblem("not_found", f"no block {shown} here; the highest is {context.port.status().height}")
    number, epoch = record.header.epoch, context.port.epoch()
    if number != epoch.number:
        epoch = await context.read(lambda history: next(each for each in history.epochs() if each.number == number))
    return answer(full_block(record, epoch))


def _find_block(history: HistoryPort, name: int | bytes) -> StoredBlock | None:
    return history.block(name) if isinstance(name, int) else history.block_by_hash(name)


async def account(request: web.Request) -> web.Response:
    """GET /v1/accounts/{address}; an address that never appeared has nothing."""
    Query(request)
    address = path_address(request)
    view = context_of(request).port.account(address)
    return answer(
        AccountPayload(
            address=checksum_address(address),
            balance=str(view.balance),
            nonce=view.nonce,
            next_nonce=view.next_nonce,
            height=view.height,
        )
    )


async def account_proof(request: web.Request) -> web.Response:
    """GET /v1/accounts/{address}/proof: of the record, or that there is none, under a certified state root."""
    Query(request)
    address = path_address(request)
    context = context_of(request)
    proof = await context.wait(context.port.state_proof(address))  # the newest block may wait for its certificate
    if proof is None:
        raise HttpProblem("not_certified", "no certified state is at hand here yet")
    return answer_document(proof_to_json(proof))


async def account_transactions(request: web.Request) -> web.Response:
    """GET /v1/accounts/{address}/transactions, newest first."""
    query = Query(request, "cursor", "limit")
    address, before, limit = path_address(request), query.optional_place("cursor"), query.limit()
    context = context_of(request)
    # Asked before the rows: a block that moves from recent to rows meanwhile is then seen twice, never not at all.
    recent = [place for place in context.port.recent_history(address) if before is None or place < before]
    inclusions = await context.read(
        lambda history: _history_page(history, address, before, limit + 1, recent[: limit + 1])
    )
    page = inclusions[:limit]
    types = context.port.types
    last = page[-1] if page else None
    return answer(
        HistoryPayload(
            address=checksum_address(address),
            transactions=[history_entry(inclusion, types.parse(inclusion.raw)) for inclusion in page],
            next=f"{last.header.height}.{last.position}" if last and len(inclusions) > limit else None,
        )
    )


def _history_page(
    history: HistoryPort,
    address: bytes,
    before: tuple[int, int] | None,
    limit: int,
    recent: Sequence[tuple[int, int]],
) -> list[Inclusion]:
    places = {*history.account_history(address, before, limit), *recent}
    found = [history.inclusion(*place) for place in sorted(places, reverse=True)[:limit]]
    return [inclusion for inclusion in found if inclusion is not None]
