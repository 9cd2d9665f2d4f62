"""`potchain verify`: check a proof with nothing but the genesis file."""

from __future__ import annotations

from pathlib import Path

import click

from potchain.cli.options import FILE, aligned, emit, json_option


@click.command()
@click.argument("proof", type=FILE)
@click.option("--genesis", required=True, type=FILE, help="Genesis file, from a source that you trust.")
@json_option
def verify(proof: Path, genesis: Path, as_json: bool) -> None:
    """Check a PROOF file offline: who certified the block, and that the transaction or record is in it.

    \b
    Example:
      potchain tx proof 0x6d0a... --out proof.json   (66 characters)
      potchain verify proof.json --genesis genesis.json
    """
    import msgspec

    from potchain.blocks import TransactionProof
    from potchain.consensus.quorum import Quorum
    from potchain.errors import CodecError
    from potchain.genesis import parse_genesis
    from potchain.proofs import proof_from_json, verify_state_proof, verify_transaction_proof
    from potchain.registry import load_plugins
    from potchain.transactions import TransactionTypes
    from potchain.typed_data import JsonObject, struct_to_json

    agreed = parse_genesis(genesis.read_bytes(), str(genesis))
    try:
        document = msgspec.json.decode(proof.read_bytes())
    except (msgspec.DecodeError, RecursionError) as fault:
        raise CodecError(f"{proof} is not JSON: {fault}") from None
    claimed = proof_from_json(document)
    if isinstance(claimed, TransactionProof):
        types = TransactionTypes(load_plugins().body_types(), agreed.hash)
        inclusion = verify_transaction_proof(claimed, agreed, types, lambda n: Quorum(n).quorum)
        result: JsonObject = {
            "proof": "transaction",
            "transaction_id": "0x" + inclusion.transaction.id.hex(),
            "kind": inclusion.transaction.kind,
            "message": struct_to_json(inclusion.transaction.body),
            "height": inclusion.header.height,
            "index": claimed.index,
            "status": inclusion.receipt.status,
            "code": inclusion.receipt.code,
            "block_time_ms": inclusion.header.block_time_ms,
        }
    else:
        record = verify_state_proof(claimed, agreed, lambda n: Quorum(n).quorum)
        result = {
            "proof": "state",
            "height": record.header.height,
            "key": "0x" + record.key.hex(),
            "value": None if record.value is None else "0x" + record.value.hex(),
        }
    rows = [(name, value) for name, value in result.items() if name != "message"]
    rows += list(result.get("message", {}).items())
    emit(result, as_json, ["the proof holds", *aligned(rows)])
