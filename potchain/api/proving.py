"""A transaction's proof, gathered from the ledger. Blocking: it runs on the API's threads."""

from __future__ import annotations

from collections.abc import Iterator

from potchain.api.ports import HistoryPort
from potchain.blocks import EpochLink, TransactionProof
from potchain.codec import encode
from potchain.errors import LedgerCorrupt
from potchain.proofs import build_transaction_proof


def prove(history: HistoryPort, height: int, index: int) -> TransactionProof | None:
    """Proof of the transaction in that place; None while its block has no certificate here."""
    contents, certificate = history.contents(height), history.certificate(height)
    if contents is None or certificate is None:
        return None
    return build_transaction_proof(
        contents.header,
        certificate,
        contents.bodies,
        contents.transaction_ids,
        contents.receipts.receipts,
        index,
        tuple(epoch_links(history, contents.header.epoch)),
    )


def epoch_links(history: HistoryPort, epoch_number: int) -> Iterator[EpochLink]:
    """The end of every epoch before that one, and what it named."""
    for epoch in history.epochs()[1:]:
        if epoch.number <= epoch_number:
            boundary = epoch.first_sequence - 1
            header, certificate = history.header(boundary), history.certificate(boundary)
            if header is None or certificate is None:
                raise LedgerCorrupt(boundary, f"epoch {epoch.number} began, but the block before it is not certified")
            yield EpochLink(header=header, certificate=certificate, next_epoch=encode(epoch))
