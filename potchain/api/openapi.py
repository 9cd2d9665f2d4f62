"""The OpenAPI 3.1 document, made from the table of routes, the payload types, the table of problems and the kinds.

Nothing is described twice: a route, a member or a code that exists is in the document, and a test compares the
document with the answers of a running server.
"""

from __future__ import annotations

import re
from functools import cache

import msgspec

from potchain.api.payloads import BatchEntryPayload
from potchain.api.problems import PROBLEM_MEDIA_TYPE, PROBLEMS, Problem
from potchain.api.route import (
    BATCH_SCHEMA,
    BYTES,
    JSON,
    PROOF_SCHEMA,
    STATE_PROOF_SCHEMA,
    TEXT,
    Parameter,
    Route,
)
from potchain.api.routes import PAYLOADS, ROUTES
from potchain.blocks import TransactionProof
from potchain.proofs import StateProof
from potchain.transactions import TransactionTypes
from potchain.typed_data import JsonObject

COMMON_CODES = ("bad_query", "unauthorized", "rate_limited", "internal", "unavailable")
"""Problems that any route may answer with."""
LEDGER_CODES = ("query_deadline",)

_PATH_SCHEMAS: dict[str, JsonObject] = {
    "id": {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$", "description": "Id of a transaction or a piece."},
    "block": {
        "type": "string",
        "pattern": "^([0-9]{1,19}|0x[0-9a-fA-F]{64})$",
        "description": "Height or block hash.",
    },
    "address": {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$", "description": "Account, EIP-55 if mixed case."},
    "nonce": {"type": "string", "pattern": "^[0-9]{1,19}$", "description": "Nonce of an action."},
    "number": {"type": "string", "pattern": "^[0-9]{1,19}$", "description": "Id of a payout."},
}
_MEMBER_SCHEMAS: dict[str, JsonObject] = {
    "address": {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"},
    "uint64": {"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+$"},
    "uint256": {"type": ["string", "integer"], "minimum": 0, "pattern": "^[0-9]+$"},
    "bytes32": {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"},
    "bytes": {"type": "string", "pattern": "^0x([0-9a-fA-F]{2})*$"},
    "string": {"type": "string"},
}


def openapi_document(types: TransactionTypes, version: str, submit_batch_max: int) -> JsonObject:
    """The whole document."""
    paths: JsonObject = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "potchain node",
            "version": version,
            "description": "Amounts are decimal strings of base units, addresses EIP-55, bytes 0x-hex, times Unix ms.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(types, submit_batch_max),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> JsonObject:
    operation: JsonObject = {
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[name]}
                for name in re.findall(r"\{(\w+)\}", route.path)
            ),
            *(_query_parameter(parameter) for parameter in route.query),
        ],
        "responses": {str(status): _answer(payload) for status, payload in route.answers.items()},
        "security": [{}] if route.is_open else [{}, {"token": []}],
    }
    if route.body:
        operation["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{route.body}"}}},
        }
    for status, codes in _codes_by_status(route).items():
        listed = "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes)
        operation["responses"][str(status)] = {
            "description": listed,
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return operation


def _codes_by_status(route: Route) -> dict[int, list[str]]:
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys((*route.codes, *COMMON_CODES, *LEDGER_CODES)):
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return dict(sorted(by_status.items()))


def _query_parameter(parameter: Parameter) -> JsonObject:
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.meaning,
        "schema": parameter.schema,
    }


def _answer(payload: type[msgspec.Struct] | str) -> JsonObject:
    if payload == TEXT:
        return {"description": "Text.", "content": {TEXT: {"schema": {"type": "string"}}}}
    if payload == BYTES:
        return {"description": "Bytes.", "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}
    if payload == JSON:
        return {"description": "JSON.", "content": {JSON: {"schema": {"type": "object"}}}}
    name = payload if isinstance(payload, str) else payload.__name__
    return {
        "description": name.removesuffix("Payload"),
        "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }


def _schemas(types: TransactionTypes, submit_batch_max: int) -> JsonObject:
    schemas = dict(_payload_schemas())
    kinds = []
    for name, kind in types.kinds.items():
        schemas[f"{name}Message"] = {
            "type": "object",
            "properties": {member.name: _MEMBER_SCHEMAS[member.type] for member in kind.members},
            "required": [member.name for member in kind.members],
            "additionalProperties": False,
        }
        schemas[f"{name}Submission"] = _submission(name)
        kinds.append({"$ref": f"#/components/schemas/{name}Submission"})
    schemas["Submission"] = {"oneOf": kinds}
    listed = {"type": "array", "maxItems": submit_batch_max}
    one = {"$ref": "#/components/schemas/Submission"}
    schemas["SubmissionBody"] = {"oneOf": [one, {**listed, "items": one}]}
    schemas[BATCH_SCHEMA] = {**listed, "items": {"$ref": "#/components/schemas/BatchEntryPayload"}}
    schemas["SubmitAnswer"] = {
        "description": "An array for an array; with `wait` the transaction, its block and proof.",
        "oneOf": [
            {"$ref": f"#/components/schemas/{BATCH_SCHEMA}"},
            {"$ref": "#/components/schemas/DecidedPayload"},
        ],
    }
    schemas[PROOF_SCHEMA] = _proof("transaction", TransactionProof)
    schemas[STATE_PROOF_SCHEMA] = _proof("state", StateProof)
    return schemas


@cache
def _payload_schemas() -> JsonObject:
    """The same for every node of a process, and dear: the simulator starts many."""
    _, schemas = msgspec.json.schema_components(
        [*PAYLOADS, BatchEntryPayload, Problem], ref_template="#/components/schemas/{name}"
    )
    return schemas


def _proof(name: str, kind: type[msgspec.Struct]) -> JsonObject:
    """Proofs are canonical structs; `potchain.proofs` gives and reads their JSON form."""
    return {
        "type": "object",
        "description": "What `potchain verify` checks offline.",
        "properties": {"proof": {"const": name}, **{field: {} for field in kind.__struct_fields__}},
        "required": ["proof", *kind.__struct_fields__],
        "additionalProperties": False,
    }


def _submission(kind: str) -> JsonObject:
    return {
        "type": "object",
        "properties": {
            "kind": {"const": kind},
            "message": {"$ref": f"#/components/schemas/{kind}Message"},
            "signature": {
                "type": "string",
                "pattern": "^0x[0-9a-fA-F]{130}$",
                "description": "r, s, v with v 27 or 28.",
            },
            "domain": {"type": "object", "description": "If given, refused unless it is this network's."},
        },
        "required": ["kind", "message", "signature"],
        "additionalProperties": False,
    }
