"""From the state, the rows and the settler's report to the payloads about settlement and governance. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from potchain.api.ports import SettlementStatus
from potchain.api.rendering import hex_of
from potchain.api.settlement_payloads import (
    ActionDetailPayload,
    ActionPayload,
    ContractPayload,
    EntryPayload,
    FaultPayload,
    OpenActionPayload,
    OwnersPayload,
    PayoutPayload,
    PayoutSumsPayload,
    PersonPayload,
    ProposalPayload,
    RelayPayload,
    SettlementPayload,
    SettlerPayload,
    SumPayload,
    TermsPayload,
)
from potchain.api.settlement_words import PHASES, REMEDIES, explain_action, explain_relay, fault_meaning
from potchain.application.governance.records import Proposal
from potchain.application.interface import StateReader
from potchain.application.settlement import records
from potchain.consensus.quorum import Quorum
from potchain.crypto import checksum_address
from potchain.genesis import Epoch
from potchain.ledger.settlement_reader import ActionRow, Layer2EventRow, PayoutRow, ProposalRow
from potchain.primitives import ZERO_ADDRESS, uint
from potchain.settlement import Contract, Owners
from potchain.settlement.report import ActionReport
from potchain.transactions import TransactionBody
from potchain.typed_data import JsonObject, struct_to_json

LEFT_TO_OTHERS = (
    "a contract is bound, and this node neither signs, relays nor watches it: choose another backend in [settlement]"
)


class People:
    """Names of operators in the current epoch of consensus."""

    def __init__(self, epoch: Epoch) -> None:
        self.operators = tuple([member.operator for member in epoch.members])
        self._names: dict[bytes, str] = {}
        for member in epoch.members:
            self._names.setdefault(member.operator, member.name)

    def person(self, address: bytes) -> PersonPayload:
        """An owner or operator."""
        return PersonPayload(address=checksum_address(address), name=self._names.get(address))

    def persons(self, addresses: Iterable[bytes]) -> list[PersonPayload]:
        """Several, in order."""
        return [self.person(address) for address in addresses]

    def shown(self, address: bytes) -> str:
        """The name, else the address."""
        return self._names.get(address) or checksum_address(address)


def settlement_payload(
    state: StateReader, height: int, rows: Mapping[int, ActionRow], status: SettlementStatus, people: People
) -> SettlementPayload:
    """Where settlement stands. `rows` by nonce: of the bound contract, as far as they are at hand."""
    now, contract = records.counters(state), records.bound_contract(state)
    reports = {report.nonce: report for report in status.report.actions}
    actions = []
    for record in records.open_actions(state):
        row = row_with(rows.get(record.action.nonce), now.binding, record, height)
        actions.append(OpenActionPayload(**_open_members(row, state, record, reports.get(row.nonce), people)))
    return SettlementPayload(
        height=height,
        contract=None if contract is None else _contract_payload(contract, now.binding),
        owners=[owners_payload(owners, people) for owners in records.live_owners(state)] if contract else [],
        terms=_terms_payload(records.terms(state)),
        paused=now.paused,
        halted=now.halted,
        next_action=now.next_action,
        next_executed=now.next_executed,
        next_event=now.next_event,
        credited=str(uint(now.credited)),
        withdrawable=str(now.withdrawable),
        uncovered=str(max(0, uint(now.owed) - uint(now.funds))),
        payouts=_sums(state, now),
        actions=actions,
        settler=_settler_payload(status, is_bound=contract is not None),
    )


def action_payload(row: ActionRow) -> ActionPayload:
    """An action in a list."""
    return ActionPayload(**_action_members(row))


def row_with(row: ActionRow | None, binding: int, record: records.ActionRecord, height: int) -> ActionRow:
    """The row as the state at `height` has it: blocks are executed a moment before their rows are there."""
    action, done = record.action, record.status == records.EXECUTED
    paying = record.payouts > 0
    return ActionRow(
        binding=binding,
        nonce=action.nonce,
        kind=action.kind,
        epoch=action.epoch,
        digest=record.digest,
        first_payout=record.first_payout if paying else None,
        last_payout=record.last_payout if paying else None,
        total=uint(record.total),
        formed_height=action.height,
        formed_ms=None if row is None else row.formed_ms,
        signed_height=record.ready_height or None,
        executed_height=((row.executed_height if row is not None else None) or height) if done else None,
        transaction_hash=record.receipt_hash if done else None,
        block_number=record.receipt_block if done else None,
    )


def action_detail_payload(
    row: ActionRow,
    state: StateReader,
    record: records.ActionRecord | None,
    report: ActionReport | None,
    event: Layer2EventRow | None,
    people: People,
) -> ActionDetailPayload:
    """One action. `record` is None when the state has forgotten it, or when it is of an earlier contract."""
    action = record.action if record is not None else None
    rotation = None
    if action is not None and action.kind == "rotate":
        rotation = owners_payload(Owners(action.epoch + 1, action.owners, action.threshold), people)
    return ActionDetailPayload(
        **_open_members(row, state, record, report, people),
        entries=_entries(record),
        root=hex_of(action.root) if action is not None and action.kind == "root" else None,
        new_owners=rotation,
        paused=action.paused if action is not None and action.kind == "pause" else None,
        event_nonce=None if event is None else event.event_nonce,
    )


def owners_payload(owners: Owners, people: People) -> OwnersPayload:
    """Who signs in an epoch."""
    return OwnersPayload(epoch=owners.epoch, threshold=owners.threshold, owners=people.persons(owners.owners))


def payout_payload(row: PayoutRow) -> PayoutPayload:
    """A payout."""
    return PayoutPayload(
        id=row.id,
        status=row.status,
        kind=row.kind,
        reference=hex_of(row.reference),
        account=checksum_address(row.account),
        amount=str(row.amount),
        height=row.height,
        block_time_ms=row.block_time_ms,
        action=row.action,
        executed_height=row.executed_height,
        transaction_hash=_hash(row.transaction_hash),
    )


def proposal_payload(
    row: ProposalRow, proposal: Proposal | None, body: TransactionBody | None, people: People
) -> ProposalPayload:
    """A proposal; `proposal` while it is open, `body` when its transaction is at hand."""
    operators = people.operators
    yes = [each for each in proposal.yes if each in operators] if proposal is not None else []
    no = [each for each in proposal.no if each in operators] if proposal is not None else []
    missing = [each for each in operators if each not in yes and each not in no] if proposal is not None else []
    status = "open" if row.outcome is None else row.outcome if row.outcome == "applied" else "rejected"
    proposer = body.from_ if body is not None else None
    return ProposalPayload(
        id=hex_of(row.id),
        kind=row.kind,
        message=None if body is None else struct_to_json(body),
        status=status,
        outcome=row.outcome if status == "rejected" else None,
        height=row.height,
        decided_height=row.decided_height,
        proposer=None if proposer is None else people.person(proposer),
        yes=people.persons(yes),
        no=people.persons(no),
        missing=people.persons(missing),
        quorum=Quorum(len(operators)).quorum,
        expires_ms=None if proposal is None else proposal.expires_ms,
    )


def _open_members(
    row: ActionRow,
    state: StateReader,
    record: records.ActionRecord | None,
    report: ActionReport | None,
    people: People,
) -> JsonObject:
    is_open = row.status != "executed"
    owners = records.owners_of(state, row.epoch) if is_open else None
    signers = [owner for owner, _ in records.signatures(state, row.nonce)] if is_open else []
    missing: list[bytes] = []
    if owners is not None and row.status == "open":
        missing = [owner for owner in owners.owners if owner not in signers]
    threshold = owners.threshold if owners is not None else 0
    text = explain_action(row, record, threshold, _shown(signers, people), _shown(missing, people))
    if report is not None:
        text += explain_relay(report, people.shown(report.turn) if report.turn else "")
    return {
        **_action_members(row),
        "threshold": threshold if is_open else None,
        "signers": people.persons(signers),
        "missing": people.persons(missing),
        "relay": None if report is None else _relay_payload(report, people),
        "text": text,
    }


def _shown(addresses: Iterable[bytes], people: People) -> list[str]:
    return [people.shown(address) for address in addresses]


def _action_members(row: ActionRow) -> JsonObject:
    members: JsonObject = msgspec.structs.asdict(row)
    members.update(
        status=row.status,
        digest=hex_of(row.digest),
        payouts=row.payouts,
        total=str(row.total),
        transaction_hash=_hash(row.transaction_hash),
    )
    return members


def _entries(record: records.ActionRecord | None) -> list[EntryPayload] | None:
    if record is None or not record.action.entries:
        return None
    return [
        EntryPayload(account=checksum_address(entry.account), amount=str(uint(entry.amount)))
        for entry in record.action.entries
    ]


def _contract_payload(contract: Contract, binding: int) -> ContractPayload:
    return ContractPayload(
        binding=binding,
        scheme=contract.scheme,
        chain_id=contract.chain_id,
        address=checksum_address(contract.address),
        safe=None if contract.safe == ZERO_ADDRESS else checksum_address(contract.safe),
        from_block=contract.from_block,
    )


def _terms_payload(terms: records.Terms) -> TermsPayload:
    members: JsonObject = msgspec.structs.asdict(terms)
    members.update({name: str(uint(value)) for name, value in members.items() if isinstance(value, bytes)})
    return TermsPayload(**members)


def _sums(state: StateReader, now: records.Counters) -> PayoutSumsPayload:
    """Ids have no gap and statuses are ranges of ids, so counts are differences."""
    open_actions = [record for record in records.open_actions(state) if record.payouts]
    batched = sum(record.payouts for record in open_actions)
    total = sum(uint(record.total) for record in open_actions)
    return PayoutSumsPayload(
        pending=SumPayload(count=now.pending, total=str(uint(now.owed) - total)),
        batched=SumPayload(count=batched, total=str(total)),
        paid=SumPayload(count=now.next_payout - now.pending - batched, total=str(uint(now.executed))),
    )


def _settler_payload(status: SettlementStatus, *, is_bound: bool) -> SettlerPayload:
    report = status.report
    fault = report.fault
    notes = [*report.notes, LEFT_TO_OTHERS] if is_bound and report.state == "off" else list(report.notes)
    return SettlerPayload(
        backend=status.backend,
        operator=_address(status.operator),
        relay_account=_address(status.relay_account),
        state=report.state,
        fault=None if fault is None else _fault_payload(fault.code, fault.text, fault.since_ms),
        head_number=report.head_number,
        head_time_s=report.head_time_s,
        confirmed_number=report.confirmed_number,
        looked_ms=report.looked_ms,
        next_nonce=report.next_nonce,
        events_seen=report.events_seen,
        events_behind=report.events_behind,
        funds=None if report.funds is None else str(report.funds),
        contract_paused=report.paused,
        under_way=report.under_way,
        notes=notes,
        reorgs=report.reorgs,
        reorg_text=report.reorg_text or None,
    )


def _relay_payload(report: ActionReport, people: People) -> RelayPayload:
    return RelayPayload(
        phase=report.phase,
        phase_text=PHASES[report.phase],
        signed_here=report.signed_here,
        attempts=report.attempts,
        transaction_hash=_hash(report.transaction_hash),
        account_nonce=report.account_nonce,
        turn=people.person(report.turn) if report.turn else None,
        fault=_fault_payload(report.code, report.text, None) if report.code else None,
        retry_in_ms=report.retry_in_ms or None,
    )


def _fault_payload(code: str, text: str, since_ms: int | None) -> FaultPayload:
    return FaultPayload(
        code=code, text=text, meaning=fault_meaning(code), remedy=REMEDIES.get(code, ""), since_ms=since_ms
    )


def _address(address: bytes | None) -> str | None:
    return None if address is None else checksum_address(address)


def _hash(data: bytes | None) -> str | None:
    return hex_of(data) if data else None
