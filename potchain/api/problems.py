"""Everything the API can answer but what was asked for: RFC 9457 problem details with one table of stable codes.

`PROBLEMS` is that table: the middleware, the OpenAPI document and the test of the documentation all read it. A code is
never renamed and never changes its status. An application plug-in may refuse with a code of its own; it gets 422.
"""

from __future__ import annotations

from typing import Any

import msgspec

from potchain.errors import PotchainError

PROBLEM_MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:potchain:problem:"
RETRY_AFTER_S = 1
"""What `Retry-After` says when the cause passes by itself."""
STATUS_OF_OTHERS = 422
"""HTTP status of a code that an application plug-in defines."""


class ProblemKind(msgspec.Struct, frozen=True):
    """One row of the table."""

    code: str
    status: int
    title: str
    meaning: str
    """What a client should know or do; the reference prints it."""
    retry: bool = False
    """Whether the same request may succeed later; the answer then carries `Retry-After`."""


PROBLEMS: dict[str, ProblemKind] = {
    kind.code: kind
    for kind in (
        # What cannot be read.
        ProblemKind("bad_json", 400, "Not JSON", "The body is no JSON document, or a number in it is out of range."),
        ProblemKind("malformed", 400, "Malformed", "JSON of another shape than the route takes."),
        ProblemKind("bad_query", 400, "Bad path or query", "A path or query parameter is unknown or out of range."),
        ProblemKind("unknown_field", 400, "Unknown member", "A member that is not in the type; nothing is ignored."),
        ProblemKind("missing_field", 400, "Missing member", "A member of the type is missing."),
        ProblemKind("bad_amount", 400, "Bad number", "Not a whole number, negative, or above its type's maximum."),
        ProblemKind("bad_address", 400, "Bad address", "Not 0x and 40 hex digits, or a wrong EIP-55 checksum."),
        ProblemKind("bad_bytes", 400, "Bad bytes", "Not 0x and an even count of hex digits, or of another length."),
        ProblemKind("unknown_kind", 400, "Unknown kind", "No such transaction kind; `/v1/chain` lists them."),
        ProblemKind("too_many_transactions", 400, "Too many transactions", "More in an array than `/v1/chain` allows."),
        ProblemKind("bad_request", 400, "Bad request", "HTTP that the server cannot read."),
        ProblemKind("unauthorized", 401, "Token needed", "Reads from elsewhere, and changes, need the node's token."),
        ProblemKind("links_locked", 403, "Conditions locked", "`links.control` of the node is false."),
        ProblemKind("not_found", 404, "Not found", "No such route, block, transaction or proof here."),
        ProblemKind("method_not_allowed", 405, "Method not allowed", "The route has other methods; see `Allow`."),
        ProblemKind("body_timeout", 408, "Body too slow", "The body did not arrive in time."),
        ProblemKind("body_too_large", 413, "Body too large", "Longer than the node reads; send less at once."),
        ProblemKind("oversize", 413, "Transaction too large", "One transaction is longer than `/v1/chain` allows."),
        # What will never be valid as it is.
        ProblemKind("bad_signature", 422, "Bad signature", "Not 65 bytes, high-s, or not signed by `from` here."),
        ProblemKind("wrong_chain", 422, "Wrong network", "The `domain` sent along is not this network's."),
        ProblemKind("zero_address", 422, "Zero address", "The receiver is the zero address."),
        ProblemKind("zero_amount", 422, "Zero amount", "The amount is 0."),
        ProblemKind("memo_too_long", 422, "Memo too long", "The memo is longer than `/v1/chain` allows."),
        ProblemKind("insufficient_fee", 422, "Fee too low", "The fee is below the base fee."),
        ProblemKind("expired", 422, "Expired", "`validUntil` is in the past; sign again with a later one."),
        ProblemKind("bad_links", 422, "Bad conditions", "Network conditions that make no sense; `detail` has the key."),
        # What settlement and governance refuse for ever.
        ProblemKind("not_operator", 403, "No operator", "Neither operator of a validator nor owner of the contract."),
        ProblemKind("below_minimum", 422, "Too little", "Below settlement.minimum_withdrawal."),
        ProblemKind("bad_payload", 422, "Bad event", "An event of Layer 2 of an unknown kind, or bytes not of it."),
        ProblemKind("bad_scheme", 422, "Bad scheme", "The scheme is multisig or safe."),
        ProblemKind("bad_chain", 422, "Bad chain", "Chain id 0."),
        ProblemKind("bad_safe", 422, "Bad Safe", "A Safe where there is none, or none where one is needed."),
        ProblemKind("bad_owners", 422, "Bad owners", "Not 1 to 255 addresses, sorted, each once, none zero."),
        ProblemKind("bad_threshold", 422, "Bad threshold", "Not 1 to the number of owners."),
        ProblemKind("bad_parameter", 422, "Unknown parameter", "Governance does not know this key."),
        ProblemKind("out_of_range", 422, "Out of range", "The parameter cannot have that value."),
        ProblemKind("bad_value", 422, "Bad value", "Neither 0 nor 1."),
        ProblemKind("invalid_epoch", 422, "No sound epoch", "Parameters that contradict each other."),
        ProblemKind("too_much_money", 422, "Too much money", "The money of genesis leaves no room for deposits."),
        ProblemKind("owners_in_safe", 422, "Owners in the Safe", "A Safe's owners change in the Safe; bind it anew."),
        # What does not fit the state of settlement or governance.
        ProblemKind("not_bound", 409, "No contract", "No contract on Layer 2 is bound; `GovBindContract` does that."),
        ProblemKind("not_covered", 409, "Not covered", "More than deposits into the bound contract cover now."),
        ProblemKind("settlement_paused", 409, "Settlement paused", "By governance, or by what the contract did."),
        ProblemKind("already_bound", 409, "Bound before", "That contract is bound, or was: its events count once."),
        ProblemKind("actions_open", 409, "Actions open", "Actions under way must be executed before a new contract."),
        ProblemKind("too_many_bindings", 409, "Too many contracts", "The ledger was bound as often as it can be."),
        ProblemKind("unknown_action", 409, "Unknown action", "No action has that nonce yet."),
        ProblemKind("batch_closed", 409, "Signed already", "The action has enough signatures, or is executed."),
        ProblemKind("already_signed", 409, "Signed before", "This owner has signed this action."),
        ProblemKind("wrong_epoch", 409, "Other owners", "An owner, but not in the action's epoch of the contract."),
        ProblemKind("stale_event", 409, "Event applied", "That event of Layer 2 is applied already."),
        ProblemKind("too_far_ahead", 409, "Event too far ahead", "Earlier events of Layer 2 come first."),
        ProblemKind("already_voted", 409, "Voted before", "This operator has said the same before."),
        ProblemKind("unknown_proposal", 409, "Unknown proposal", "Decided, expired, or never made."),
        ProblemKind("unchanged", 409, "Nothing to change", "It is so already."),
        ProblemKind("too_many_actions", 409, "Too many actions", "Wait until some are executed."),
        ProblemKind("too_many_proposals", 409, "Too many proposals", "Wait until some are decided."),
        ProblemKind("too_many_payouts", 409, "Too many payouts", "Wait until some are paid."),
        # What does not fit the state of the account or the pool.
        ProblemKind("stale_nonce", 409, "Nonce already used", "Sign with `next_nonce` of the account."),
        ProblemKind("nonce_gap_too_large", 409, "Nonce too far ahead", "Send the earlier nonces first."),
        ProblemKind("insufficient_funds", 409, "Insufficient funds", "The balance is less than amount and fee."),
        ProblemKind("fee_too_low_to_replace", 409, "Nonce taken", "The pool holds this nonce at as high a fee."),
        ProblemKind("replaced", 409, "Replaced", "A transaction of the same nonce with a higher fee took its place."),
        ProblemKind("replaced_on_chain", 409, "Nonce used", "Another transaction with this nonce was executed."),
        ProblemKind("pool_timeout", 409, "Waited too long", "Older than the pool keeps; it may be sent again."),
        ProblemKind("evicted", 409, "Evicted", "The pool was full and better-paying ones came; it may be sent again."),
        ProblemKind("not_certified", 409, "Not certified yet", "Executed, but its proof waits for votes.", retry=True),
        ProblemKind("sender_limit", 429, "Too many in flight", "This sender has its full share pooled.", retry=True),
        ProblemKind("rate_limited", 429, "Too many requests", "This address asks too often.", retry=True),
        # What is the node's.
        ProblemKind("internal", 500, "Fault of the node", "A bug; the node's log has it under the given `incident`."),
        ProblemKind("pool_full", 503, "Pool full", "Try later, with a higher fee, or at another node.", retry=True),
        ProblemKind("syncing", 503, "Catching up", "The node is behind the network.", retry=True),
        ProblemKind("query_deadline", 503, "Query too slow", "The ledger did not answer in time.", retry=True),
        ProblemKind("unavailable", 503, "Unavailable", "Busy, stopping, or the ledger cannot be read.", retry=True),
        ProblemKind("timeout", 504, "Not yet", "The wait ended first. Nothing is lost: ask again with the `id`."),
    )
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    id: str | None = None
    """The transaction that this is about."""
    incident: str | None = None
    """Where to look in the node's log."""


class HttpProblem(PotchainError):
    """Ends a request with a problem of the table."""

    def __init__(self, code: str, detail: str, *, transaction_id: bytes | None = None) -> None:
        self.code = code
        self.detail = detail
        self.transaction_id = transaction_id
        self.allow = ""
        super().__init__(f"{code}: {detail}")


def problem_kind(code: str) -> ProblemKind:
    """The table's row, or one made for the code of an application plug-in."""
    return PROBLEMS.get(code) or ProblemKind(code, STATUS_OF_OTHERS, "Refused by the application", "")


def problem_document(
    code: str, detail: str, *, transaction_id: bytes | None = None, incident: str | None = None
) -> Problem:
    """The document for one occurrence."""
    kind = problem_kind(code)
    return Problem(
        type=TYPE_PREFIX + code,
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=code,
        id=None if transaction_id is None else "0x" + transaction_id.hex(),
        incident=incident,
    )


def problem_headers(code: str, allow: str = "") -> dict[str, Any]:
    """HTTP headers that go with a code."""
    headers = {}
    if problem_kind(code).retry:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if code == "unauthorized":
        headers["WWW-Authenticate"] = 'Bearer realm="potchain"'
    if allow:
        headers["Allow"] = allow
    return headers
