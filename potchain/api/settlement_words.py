"""Settlement in sentences: phases, faults with what to do about them, and one action explained. Pure."""

from __future__ import annotations

from potchain.application.settlement.records import ActionRecord
from potchain.ledger.settlement_reader import ActionRow
from potchain.settlement.interface import FAULTS
from potchain.settlement.report import SETTLER_FAULTS, ActionPhase, ActionReport

PHASES: dict[ActionPhase, str] = {
    "uncertified": "the block that made it is not certified yet",
    "collecting": "waits for signatures of owners",
    "ordered": "ready; the contract executes earlier nonces first",
    "turn": "ready; it is another operator's turn to relay it",
    "blocked": "cannot be relayed now",
    "sending": "prepared here, and no endpoint has it yet",
    "pending": "sent by this node, waits to be mined",
    "dropped": "sent by this node and lost by every endpoint; it is sent again",
    "reverted": "mined and refused; it is prepared anew",
    "mined": "executed by this node's transaction; waits for confirmations and the votes of operators",
    "executed": "executed by another's transaction; waits for confirmations and the votes of operators",
}
"""What each phase of a report means."""

REMEDIES: dict[str, str] = {
    "unreachable": "Check the endpoints in [settlement] and the network; nothing is lost, the node asks again.",
    "disagreement": "Find out which endpoint is wrong and take it out of [settlement], or ask for more of them.",
    "rubbish": "Replace the endpoint that the text names.",
    "wrong_chain": "Set endpoints of the chain that the contract is on, or bind the right contract by governance.",
    "wrong_contract": "Compare the bound address with the deployment file; bind the right contract by governance.",
    "owners_differ": "Compare `potchain contract info` with the owners above; rotate by governance, not on the "
    "contract alone.",
    "lagging": "Wait for the endpoint to catch up, or use another.",
    "empty_wallet": "Send coins of the chain to the relay account named above.",
    "gas_too_dear": "Wait for lower fees, or raise the fee cap in [settlement].",
    "gas_too_much": "Lower settlement.batch_max by governance, or raise the gas cap in [settlement].",
    "would_revert": "Read the contract's error in the text; `potchain contract info` shows the contract's side.",
    "underfunded": "Deposit the missing money: `potchain contract deposit`.",
    "paused": "An owner's pause ends by itself after a day: wait. `potchain gov propose unpause` ends a pause of "
    "governance; an owner's it ends at once only when no batch or root stands before it in the nonces, for those wait "
    "too.",
    "refused": "See the text: it is what the endpoint answers; use another endpoint if it should not refuse.",
    "not_mined": "Nothing is lost: the node follows it and raises its fee. If fees are high, raise the cap.",
    "safe_moved": "Find out what the Safe executed besides. If actions are open, set settlement.open_max to 0, and let "
    "the Safe's owners execute them by hand on the book (credit, commitRoot, setPaused), each with its nonce of "
    "`potchain settle explain`. When `potchain settle status` shows none open, bind the book anew with the Safe's "
    "nonce, and set settlement.open_max back.",
    "unsupported": "Use another back end, or decide in the Safe itself.",
    "not_configured": "Set backend, operator_key and endpoints in [settlement] of this node and start it again.",
    "reorg_beyond_confirmations": "Pause by governance, compare ledger and chain, and decide; then start the node "
    "again. Raise `confirmations`.",
    "digest_differs": "Do not sign. Run `potchain ledger verify` on this node and compare with others.",
    "ledger_behind": "Wait until the node has caught up; if it does not, see `potchain status --why`.",
    "catching_up": "Wait; `potchain status` shows how far it is.",
    "too_few_validators": "Run at least four validators before you settle real money.",
    "submission": "See the text: it is what the pool refuses with.",
    "storage": "Check the disk and the vote database of this node.",
    "reverted": "Read the contract's error in the text; the node tries again.",
}
"""What an operator does about a fault, by its code."""

_KINDS = {"batch": "a batch", "root": "a Merkle root", "rotate": "a rotation of owners", "pause": "a pause"}


def fault_meaning(code: str) -> str:
    """What a code means; empty for a code of a plug-in."""
    return FAULTS.get(code) or SETTLER_FAULTS.get(code, "")


def plural(count: int, word: str) -> str:
    """1 payout, 2 payouts."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def listed(names: list[str]) -> str:
    """Names in a sentence."""
    return ", ".join(names) or "nobody"


def explain_action(
    row: ActionRow, record: ActionRecord | None, threshold: int, signers: list[str], missing: list[str]
) -> list[str]:
    """What an action is and who has signed it. `record` is None when the state has forgotten it."""
    lines = [f"action {row.nonce} is {_KINDS.get(row.kind, row.kind)}{_what(row, record)}"]
    lines.append(f"formed in block {row.formed_height}, for owners of the contract's epoch {row.epoch}")
    if row.status == "executed":
        hash_ = (row.transaction_hash or b"").hex()
        lines.append(f"executed by Layer 2 transaction 0x{hash_} in its block {row.block_number}")
        lines.append(f"known to the ledger since block {row.executed_height}")
        if row.kind == "root":
            lines.append("each payee claims with its own proof: potchain settle claim-proof ADDRESS")
            lines.append("which anybody may send: potchain contract claim --proof FILE")
        return lines
    lines.append(f"{len(signers)} of {threshold} signatures: {listed(signers)}")
    if row.status == "open":
        short = threshold - len(signers)
        lines.append(f"{plural(short, 'signature')} of these still needed: {listed(missing)}")
    else:
        lines.append(f"signed since block {row.signed_height}: anybody may relay it")
    return lines


def explain_relay(report: ActionReport, turn: str) -> list[str]:
    """What this node does about an open action; `turn` is the name of whose turn it is, or empty."""
    lines = [f"this node: {PHASES[report.phase]}"]
    if report.phase == "collecting" and report.signed_here:
        lines.append("this node's operator has signed")
    if turn:
        lines.append(f"turn to relay: {turn}")
    if report.transaction_hash:
        sent = f"Layer 2 transaction 0x{report.transaction_hash.hex()}, account nonce {report.account_nonce}"
        lines.append(f"{sent}, attempt {report.attempts}")
    if report.code:
        lines.append(f"{report.code}: {report.text}")
        if fault_meaning(report.code):
            lines.append(fault_meaning(report.code))
        if report.code in REMEDIES:
            lines.append(f"what to do: {REMEDIES[report.code]}")
    if report.retry_in_ms:
        lines.append(f"next try in {report.retry_in_ms:,} ms")
    return lines


def _what(row: ActionRow, record: ActionRecord | None) -> str:
    if row.payouts:
        to = f" to {plural(len(record.action.entries), 'account')}" if record and record.action.entries else ""
        which = f"payouts {row.first_payout} to {row.last_payout}" if row.payouts > 1 else f"payout {row.first_payout}"
        return f" that pays {plural(row.payouts, 'payout')} ({which}), {plural(row.total, 'base unit')}{to}"
    if record is not None and row.kind == "rotate":
        return f": {plural(len(record.action.owners), 'owner')}, {record.action.threshold} must sign"
    if record is not None and row.kind == "pause":
        return ": the contract stops" if record.action.paused else ": the contract goes on"
    return ""
