"""The rows about settlement and governance in the table of routes."""

from __future__ import annotations

from potchain.api import settlement_handlers
from potchain.api.route import LIMIT, WHOLE, Parameter, Route
from potchain.api.settlement_payloads import (
    ActionDetailPayload,
    ActionsPayload,
    ClaimPayload,
    PayoutPayload,
    PayoutsPayload,
    ProposalsPayload,
    SettlementPayload,
)
from potchain.ledger.settlement_reader import PAYOUT_STATUSES

_CURSOR = Parameter("cursor", {"type": "string"}, "`next` of the page before.")
_BINDING = Parameter("binding", WHOLE, "Number of the contract, unless it is the bound one.")

SETTLEMENT_ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/settlement",
        handler=settlement_handlers.settlement,
        summary="Where settlement stands: contract, owners, what is owed, what is under way, this node's settler",
        answers={200: SettlementPayload},
    ),
    Route(
        method="GET",
        path="/v1/settlement/actions",
        handler=settlement_handlers.settlement_actions,
        summary="What the ledger asked of Layer 2, newest first",
        answers={200: ActionsPayload},
        query=(_CURSOR, LIMIT),
    ),
    Route(
        method="GET",
        path="/v1/settlement/actions/{nonce}",
        handler=settlement_handlers.settlement_action,
        summary="One action with its signatures, entries and receipt, explained",
        answers={200: ActionDetailPayload},
        query=(_BINDING,),
        codes=("not_found",),
    ),
    Route(
        method="GET",
        path="/v1/settlement/claims/{address}",
        handler=settlement_handlers.settlement_claim,
        summary="The arguments of the contract's `claim` for an account",
        answers={200: ClaimPayload},
        query=(_BINDING,),
        codes=("bad_address", "not_found"),
    ),
    Route(
        method="GET",
        path="/v1/payouts",
        handler=settlement_handlers.payouts,
        summary="What the ledger owes and owed on Layer 2, newest first",
        answers={200: PayoutsPayload},
        query=(
            Parameter("account", {"type": "string"}, "Only those of this account."),
            Parameter("status", {"type": "string", "enum": list(PAYOUT_STATUSES)}, "Only those that are this far."),
            Parameter("cursor", WHOLE, "`next` of the page before."),
            LIMIT,
        ),
        codes=("bad_address",),
    ),
    Route(
        method="GET",
        path="/v1/payouts/{number}",
        handler=settlement_handlers.payout,
        summary="One payout and what paid it",
        answers={200: PayoutPayload},
        codes=("not_found",),
    ),
    Route(
        method="GET",
        path="/v1/governance/proposals",
        handler=settlement_handlers.proposals,
        summary="What operators vote on and have voted on, newest first",
        answers={200: ProposalsPayload},
        query=(_CURSOR, LIMIT),
    ),
)
