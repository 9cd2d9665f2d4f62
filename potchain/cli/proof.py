"""`potchain verify`: check a proof, or evidence, with nothing but the genesis file."""

from __future__ import annotations

from pathlib import Path

import click

from potchain.cli.options import FILE, aligned, emit, json_option
from potchain.typed_data import JsonObject

GENESIS_OPTION = click.option(
    "--genesis", required=True, type=FILE, help="Genesis file, from a source that you trust."
)


class VerifyGroup(click.Group):
    """What does not begin with the name of a command is checked as a proof: `potchain verify proof.json ...`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Put the name in that was left out."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["proof", *args])


@click.group(cls=VerifyGroup, context_settings={"ignore_unknown_options": True})
def verify() -> None:
    """Check a file offline, with nothing but the genesis file. `proof` is what is meant when nothing is said.

    \b
    Example:
      potchain verify proof.json --genesis genesis.json
      potchain verify evidence double-vote.evidence --genesis genesis.json
    """


@verify.command("evidence")
@click.argument("file", type=FILE)
@GENESIS_OPTION
@json_option
def verify_evidence(file: Path, genesis: Path, as_json: bool) -> None:
    """Check an evidence FILE: that one member signed two contradicting messages.

    \b
    Example:
      potchain evidence get 0x6d0a... --out double-vote.evidence   (66 characters)
      potchain verify evidence double-vote.evidence --genesis genesis.json
    """
    from potchain.codec import decode
    from potchain.consensus.quorum import Quorum
    from potchain.errors import CodecError
    from potchain.evidence import EvidenceProof, verify_evidence_proof
    from potchain.genesis_file import parse_genesis

    agreed = parse_genesis(genesis.read_bytes(), str(genesis))
    try:
        proof = decode(EvidenceProof, file.read_bytes())
    except CodecError as fault:
        raise CodecError(f"{file} is no evidence ({fault}); `potchain evidence get` writes some") from None
    epoch = verify_evidence_proof(proof, agreed, lambda n: Quorum(n).quorum)
    piece = proof.evidence
    result: JsonObject = {
        "accused": epoch.name_of(piece.accused),
        "node_id": "0x" + piece.accused.hex(),
        "epoch": piece.epoch,
        "kind": piece.kind,
        "view": piece.view,
        "sequence": piece.sequence,
        "first": "0x" + piece.first.digest.hex(),
        "second": "0x" + piece.second.digest.hex(),
    }
    head = f"the evidence holds: {result['accused']} signed two messages of which no correct node signs both"
    emit(result, as_json, [head, *aligned(list(result.items()))])


@verify.command("proof")
@click.argument("proof", type=FILE)
@GENESIS_OPTION
@json_option
def verify_proof(proof: Path, genesis: Path, as_json: bool) -> None:
    """Check a PROOF file: who certified the block, and that the transaction or record is in it.

    \b
    Example:
      potchain tx proof 0x6d0a... --out proof.json   (66 characters)
      potchain verify proof proof.json --genesis genesis.json
    """
    import msgspec

    from potchain.blocks import TransactionProof
    from potchain.consensus.quorum import Quorum
    from potchain.errors import CodecError
    from potchain.genesis_file import parse_genesis
    from potchain.proofs import proof_from_json, verify_state_proof, verify_transaction_proof
    from potchain.registry import load_plugins
    from potchain.transactions import TransactionTypes
    from potchain.typed_data import struct_to_json

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
