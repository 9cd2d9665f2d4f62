"""The one table of routes: the server is built from it, the OpenAPI document describes it, tests walk over it."""

from __future__ import annotations

import msgspec

from potchain.api import evidence_handlers, ledger_handlers, link_handlers, node_handlers, transaction_handlers
from potchain.api.evidence_payloads import EvidenceListPayload
from potchain.api.link_payloads import LinksPayload
from potchain.api.node_payloads import (
    ChainPayload,
    ConsensusPayload,
    HealthPayload,
    PeersPayload,
    PoolPayload,
    ReadyPayload,
    StatusPayload,
    ValidatorsPayload,
)
from potchain.api.parameters import WAIT_S
from potchain.api.payloads import (
    AccountPayload,
    BlocksPayload,
    DecidedPayload,
    FullBlockPayload,
    HistoryPayload,
    SubmittedPayload,
    TransactionPayload,
)
from potchain.api.route import (
    BYTES,
    JSON,
    LIMIT,
    PROOF_SCHEMA,
    SECONDS,
    STATE_PROOF_SCHEMA,
    TEXT,
    WHOLE,
    Parameter,
    Route,
)
from potchain.api.settlement_routes import SETTLEMENT_ROUTES

BODY_CODES = ("bad_json", "malformed", "bad_request", "body_timeout", "body_too_large")
"""What can be wrong with a body."""
SUBMISSION_CODES = (
    "bad_json", "malformed", "unknown_field", "missing_field", "bad_amount", "bad_address", "bad_bytes", "unknown_kind",
    "too_many_transactions", "oversize", "bad_signature", "wrong_chain", "zero_address", "zero_amount", "memo_too_long",
    "insufficient_fee", "expired", "stale_nonce", "nonce_gap_too_large", "insufficient_funds",
    "fee_too_low_to_replace", "replaced", "replaced_on_chain", "pool_timeout", "evicted", "sender_limit", "bad_request",
    "body_timeout", "body_too_large", "pool_full", "syncing", "timeout", "not_operator", "below_minimum", "bad_payload",
    "bad_scheme", "bad_chain", "bad_safe", "bad_owners", "bad_threshold", "bad_parameter", "out_of_range", "bad_value",
    "invalid_epoch", "too_much_money", "owners_in_safe", "not_bound", "already_bound", "actions_open",
    "too_many_bindings", "unknown_action", "batch_closed", "already_signed", "wrong_epoch", "stale_event",
    "too_far_ahead", "already_voted", "unknown_proposal", "unchanged", "too_many_actions", "too_many_proposals",
    "too_many_payouts", "not_covered", "settlement_paused",
)  # fmt: skip
"""What the executor, the applications and the pool refuse with, and what can be wrong with a body."""

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/status",
        handler=node_handlers.status,
        summary="Where this node is",
        answers={200: StatusPayload},
    ),
    Route(
        method="GET",
        path="/v1/chain",
        handler=node_handlers.chain,
        summary="What a wallet needs in order to sign: domain, types, limits",
        answers={200: ChainPayload},
    ),
    Route(
        method="POST",
        path="/v1/transactions",
        handler=transaction_handlers.submit,
        summary="Submit one transaction, or an array of them",
        answers={202: SubmittedPayload, 200: "SubmitAnswer"},
        query=(
            Parameter(
                "wait",
                {"type": "string", "enum": ["final", "decided"]},
                "Answer when it is certified (final) or executed (decided); one transaction only.",
            ),
            Parameter("timeout", {**SECONDS, "default": WAIT_S}, "Seconds to wait at most."),
        ),
        codes=SUBMISSION_CODES,
        body="SubmissionBody",
        is_open=True,
    ),
    Route(
        method="GET",
        path="/v1/transactions/{id}",
        handler=transaction_handlers.transaction,
        summary="A transaction and what became of it",
        answers={200: TransactionPayload},
        codes=("not_found",),
    ),
    Route(
        method="GET",
        path="/v1/transactions/{id}/proof",
        handler=transaction_handlers.transaction_proof,
        summary="All that an offline verifier needs",
        answers={200: PROOF_SCHEMA},
        codes=("not_found", "not_certified"),
    ),
    Route(
        method="GET",
        path="/v1/blocks",
        handler=ledger_handlers.blocks,
        summary="Blocks by page, newest first or ascending; may wait for new ones",
        answers={200: BlocksPayload},
        query=(
            Parameter("before", WHOLE, "Newest first, below this height."),
            Parameter("after", WHOLE, "Ascending, above this height."),
            LIMIT,
            Parameter("wait", {**SECONDS, "default": 0}, "With after: seconds to wait when there is none yet."),
            Parameter("certified", {"type": "boolean", "default": False}, "Only blocks that are final."),
            Parameter("ids", {"type": "boolean", "default": False}, "With transaction ids; the page may be shorter."),
        ),
    ),
    Route(
        method="GET",
        path="/v1/blocks/{block}",
        handler=ledger_handlers.block,
        summary="A block by height or hash, with certificates and transaction ids",
        answers={200: FullBlockPayload},
        codes=("not_found",),
    ),
    Route(
        method="GET",
        path="/v1/accounts/{address}",
        handler=ledger_handlers.account,
        summary="Balance and nonces of an account",
        answers={200: AccountPayload},
        codes=("bad_address",),
    ),
    Route(
        method="GET",
        path="/v1/accounts/{address}/transactions",
        handler=ledger_handlers.account_transactions,
        summary="An account's transactions, newest first",
        answers={200: HistoryPayload},
        query=(
            Parameter("cursor", {"type": "string"}, "`next` of the page before."),
            LIMIT,
        ),
        codes=("bad_address",),
    ),
    Route(
        method="GET",
        path="/v1/accounts/{address}/proof",
        handler=ledger_handlers.account_proof,
        summary="Proof of an account's record under a certified state root",
        answers={200: STATE_PROOF_SCHEMA},
        codes=("bad_address", "not_certified"),
    ),
    *SETTLEMENT_ROUTES,
    Route(
        method="GET",
        path="/v1/validators",
        handler=node_handlers.validators,
        summary="The validators and parameters of the current epoch",
        answers={200: ValidatorsPayload},
    ),
    Route(
        method="GET",
        path="/v1/pool",
        handler=node_handlers.pool,
        summary="Sizes of the pool, and its contents by page",
        answers={200: PoolPayload},
        query=(
            Parameter("cursor", {"type": "string"}, "`next` of the page before."),
            Parameter("limit", {**LIMIT.schema, "minimum": 0}, "Entries of the page; 0 for the sizes alone."),
        ),
    ),
    Route(
        method="GET",
        path="/v1/consensus",
        handler=node_handlers.consensus,
        summary="Why the chain does or does not move",
        answers={200: ConsensusPayload},
    ),
    Route(
        method="GET",
        path="/v1/evidence",
        handler=evidence_handlers.evidence_list,
        summary="Members that signed two contradicting messages, with both signatures",
        answers={200: EvidenceListPayload},
        query=(
            Parameter("cursor", WHOLE, "`next` of the page before."),
            LIMIT,
        ),
    ),
    Route(
        method="GET",
        path="/v1/evidence/{id}",
        handler=evidence_handlers.evidence,
        summary="One piece as canonical bytes, which `potchain verify evidence` checks offline",
        answers={200: BYTES},
        codes=("not_found",),
    ),
    Route(
        method="GET",
        path="/v1/peers",
        handler=node_handlers.peers,
        summary="The peers and their queues",
        answers={200: PeersPayload},
    ),
    Route(
        method="GET",
        path="/v1/links",
        handler=link_handlers.links,
        summary="The network conditions that this node emulates",
        answers={200: LinksPayload},
    ),
    Route(
        method="PUT",
        path="/v1/links",
        handler=link_handlers.set_links,
        summary="Emulate other network conditions, where the operator has allowed it",
        answers={200: LinksPayload},
        codes=("links_locked", "bad_links", *BODY_CODES),
        body="LinkSpec",
    ),
    Route(
        method="GET",
        path="/v1/openapi.json",
        handler=node_handlers.openapi,
        summary="This description",
        answers={200: JSON},
        is_open=True,
    ),
    Route(
        method="GET",
        path="/healthz",
        handler=node_handlers.healthz,
        summary="Liveness",
        answers={200: HealthPayload},
        is_open=True,
    ),
    Route(
        method="GET",
        path="/readyz",
        handler=node_handlers.readyz,
        summary="Readiness: the node has caught up",
        answers={200: ReadyPayload},
        codes=("syncing",),
        is_open=True,
    ),
    Route(
        method="GET",
        path="/metrics",
        handler=node_handlers.metrics,
        summary="Prometheus metrics",
        answers={200: TEXT},
    ),
)

PAYLOADS: tuple[type[msgspec.Struct], ...] = (
    *dict.fromkeys(
        payload for route in ROUTES for payload in route.answers.values() if not isinstance(payload, str)
    ),
    DecidedPayload,
)
"""Every payload type that an answer can have."""
