"""Golden traces: a story of commands, and every step that an engine took because of them.

A trace file is a list of blocks, parted by empty lines: commands (and # comments), a line of dashes, the steps. A step
is a line `node<-event`, with its effects indented below. Commands, with their arguments:

    cluster nodes=4 [any epoch parameter]      a fresh cluster; the first command of a file
    start                                      start the nodes that are down
    work batches=N                             the primary's host can build N proposals
    deliver|repeat|drop [kind=] [from=] [to=] [n=]
                                               deliver what is on the wire now, deliver and keep it there, or lose it
    run [the same]                             deliver until nothing like it is left
    inject kind= from= to= n= [salt=]          a faulty member's signed message goes on the wire
    manual node=                               that node's proposal checks wait for ...
    check node= [refuse=REASON]                ... this answer
    timer node= name=                          a timer fires
    advance ms=                                time passes, and timers fire in order
    accuse node=                               that node's host says that work has been left out since the start
    answer [node=] [from=]                     peers (or one) answer what nodes (or one) asked of them
    certify height= [node=]                    a block certificate becomes durable (at one node)
    certificate node= from= n=                 catch-up by another node's order certificate
    crash node= [writes=N] (after N more durable writes) / restart node= / resend node=
    show N ... / show all                      from here on write down only these nodes' steps (none named: no steps)
    wire / status node=                        show what is on the wire, or what a node waits for
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pbft_cluster import NS_PER_MS, Cluster, Packet
from pbft_host import Host
from pbft_members import make_proposal, test_key

from potchain.blocks import proposal_digest
from potchain.consensus.interface import (
    Ask,
    BuildProposal,
    CertificateReceived,
    Certified,
    CheckProposal,
    ConsensusMessage,
    Decision,
    Discard,
    Effects,
    Event,
    Executed,
    FetchMessages,
    FetchProposal,
    KeepInFlight,
    MessageReceived,
    Misbehaviour,
    Note,
    ProposalBuilt,
    ProposalChecked,
    ReportWork,
    Send,
    SetTimer,
    Started,
    TimerFired,
    WorkWaiting,
)


def play(script: str) -> str:
    """The trace file with the steps that the engines take today."""
    player = Player()
    blocks = []
    for block in script.strip().split("\n\n"):
        commands = block.split("\n----")[0].splitlines()
        player.lines = []
        for command in commands:
            if not command.startswith("#"):
                player.perform(command.split("#")[0])
        blocks.append("\n".join([*commands, "----", *player.lines]))
    return "\n\n".join(blocks) + "\n"


def trace_files(folder: Path) -> list[Path]:
    """All trace files, in order of name."""
    return sorted(folder.glob("*.trace"))


class Player:
    """Performs commands on a cluster and writes down the steps."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.cluster = Cluster()
        self.shown: set[int] | None = None

    def perform(self, command: str) -> None:
        """One command line."""
        verb, *rest = command.split()
        if verb == "show":
            self.shown = None if rest == ["all"] else {int(node) for node in rest}
            return
        given = dict(part.split("=", 1) for part in rest)
        cluster = self.cluster
        host = cluster.hosts[int(given.get("node", 0))]
        match verb:
            case "cluster":
                self._found(given)
            case "start":
                cluster.start()
            case "work":
                cluster.work(int(given["batches"]))
            case "deliver" | "repeat":
                cluster.deliver(_wanted(given), keep=verb == "repeat")
            case "run":
                cluster.run(_wanted(given))
            case "drop":
                self._show_wire(_wanted(given), "dropped")
                cluster.drop(_wanted(given))
            case "wire":
                self._show_wire(_wanted(given), "on the wire")
            case "inject":
                proposal = make_proposal(cluster.epoch, int(given["n"]), salt=int(given.get("salt", 0)))
                cluster.inject(int(given["from"]), given["kind"], proposal, int(given["to"]))
            case "manual":
                host.answers_checks = False
            case "check":
                host.answer_check(given.get("refuse"))
            case "timer":
                host.fire(given["name"])
            case "advance":
                cluster.advance(int(given["ms"]) * NS_PER_MS)
            case "accuse":
                host.feed(WorkWaiting(1, 0))
            case "answer":
                self._answer(given)
            case "certify":
                cluster.certify(int(given["height"]), *([host.index] if "node" in given else []))
            case "certificate":
                host.certificate_from(cluster.hosts[int(given["from"])], int(given["n"]))
            case "crash" if "writes" in given:
                host.crash_at = host.writes + int(given["writes"])
            case "crash":
                host.crash()
            case "restart":
                host.crash_at = None
                host.start()
            case "resend":
                host.resend()
            case "status":
                self._show_status(host)
            case _:
                raise ValueError(f"unknown command {command!r}")

    def _found(self, given: dict[str, str]) -> None:
        self.cluster = Cluster(**{name: int(value) for name, value in given.items()})
        self.cluster.observer = self.on_step
        self.cluster.on_rejected = self._on_rejected
        epoch = self.cluster.epoch
        self.lines.append(f"view=0 primary={epoch.ids.index(epoch.primary(0))}")

    def _answer(self, given: dict[str, str]) -> None:
        hosts = self.cluster.hosts
        for asker in [hosts[int(given["node"])]] if "node" in given else hosts:
            for other in [hosts[int(given["from"])]] if "from" in given else hosts:
                if other is not asker:
                    self.cluster.answer(asker, other)
            asker.wanted = []

    def on_step(self, host: Host, event: Event, effects: Effects) -> None:
        if self.shown is not None and host.index not in self.shown:
            return
        self.lines.append(f"{host.index}<-{self._event(event)}")
        self.lines.extend(f"   {line}" for line in self._effects(effects))

    def _on_rejected(self, host: Host, message: ConsensusMessage, fault: str) -> None:
        if self.shown is None or host.index in self.shown:
            self.lines.append(f"{host.index}<-{self._message(message)}   rejected: {fault}")

    def _node(self, sender: bytes) -> str:
        return self.cluster.epoch.name_of(sender).removeprefix("node")

    def _message(self, message: ConsensusMessage) -> str:
        return (
            f"{self._node(message.sender)} {message.kind} v={message.view} n={message.sequence} "
            f"d={message.digest.hex()[:4]}"
        )

    def _event(self, event: Event) -> str:
        match event:
            case Started():
                return "started"
            case MessageReceived(message=message):
                return self._message(message)
            case ProposalBuilt(proposal=proposal):
                return f"built n={proposal.header.sequence} d={proposal_digest(proposal.header).hex()[:4]}"
            case ProposalChecked(proposal=proposal, refusal=refusal):
                return f"checked n={proposal.header.sequence} {refusal or 'ok'}"
            case TimerFired(name=name):
                return f"timer {name}"
            case Executed(height=height):
                return f"executed {height}"
            case Certified(height=height):
                return f"certified {height}"
            case CertificateReceived(sequence=sequence, digest=digest):
                return f"certificate n={sequence} d={digest.hex()[:4]}"
            case WorkWaiting(neglected_ns=neglected_ns):
                return "work waiting" if neglected_ns is None else "work left out"

    def _effects(self, effects: Effects) -> list[str]:
        lines = [f"persist {record.kind} v={record.view} n={record.sequence}" for record in effects.persist]
        lines += [_send(send) for send in effects.send]
        lines += [
            f"timer {timer.name} {timer.after_ns // 1_000_000} ms" if isinstance(timer, SetTimer) else
            f"cancel {timer.name}"
            for timer in effects.timers
        ]  # fmt: skip
        lines += [_ask(ask, self._node) for ask in effects.ask]
        lines += [_decision(decision) for decision in effects.decide]
        if effects.truncate is not None:
            lines.append(f"truncate {effects.truncate}")
        return lines + [self._report(report) for report in effects.report]

    def _report(self, report: Discard | Misbehaviour | Note) -> str:
        match report:
            case Discard(reason=reason, blame=blame):
                return f"discard{' and blame' if blame else ''}: {reason}"
            case Misbehaviour(first=first, second=second):
                return f"misbehaviour: {self._message(first)}, then d={second.digest.hex()[:4]}"
            case Note(text=text):
                return f"note: {text}"

    def _show_wire(self, wanted: Callable[[Packet], bool], what: str) -> None:
        for packet in self.cluster.wire:
            if wanted(packet):
                self.lines.append(f"{packet.to}<-{self._message(packet.message)}   {what}")

    def _show_status(self, host: Host) -> None:
        assert host.engine is not None
        status = host.engine.status()
        self.lines.append(
            f"{host.index}: low={status.low_water_mark} high={status.high_water_mark} decided={status.last_decided}"
            + (f" view={status.view}" if status.view else "")
        )
        for slot in (*([status.view_change] if status.view_change else []), *status.in_flight):
            missing = [f"{kind} of {','.join(names)}" for kind, names in slot.missing.items() if names]
            waits = f", waits for {'; '.join(missing)}" if missing else ""
            self.lines.append(f"   {f'n={slot.sequence} ' if slot.sequence else ''}{slot.phase}{waits}")


def _wanted(given: dict[str, str]) -> Callable[[Packet], bool]:
    sender = test_key(int(given["from"])).address if "from" in given else None

    def wanted(packet: Packet) -> bool:
        message = packet.message
        return (
            given.get("kind", message.kind) == message.kind
            and sender in (None, message.sender)
            and int(given.get("to", packet.to)) == packet.to
            and int(given.get("n", message.sequence)) == message.sequence
        )

    return wanted


def _send(send: Send) -> str:
    to = "" if send.to is None else f" to 0x{send.to.hex()[:4]}"
    return f"send {send.kind} v={send.view} n={send.sequence} d={send.digest.hex()[:4]}{to}"


def _ask(ask: Ask, node: Callable[[bytes], str]) -> str:
    match ask:
        case FetchMessages(kind=kind, view=view, names=names, source=source):
            of = ",".join(sorted(node(name.sender) for name in names))
            return f"ask {'everyone' if source is None else node(source)} for {kind} v={view} of {of}"
        case ReportWork():
            return "ask what waits"
        case KeepInFlight(digests=digests):
            return f"keep in flight {' '.join(digest.hex()[:4] for digest in digests) or 'nothing'}"
        case BuildProposal(sequence=sequence):
            return f"ask for a proposal n={sequence}"
        case CheckProposal(proposal=proposal, fresh=fresh):
            return f"ask to check n={proposal.header.sequence}{'' if fresh else ', not fresh'}"
        case FetchProposal(sequence=sequence, digest=digest):
            return f"ask to fetch n={sequence} d={digest.hex()[:4]}"


def _decision(decision: Decision) -> str:
    return f"decide n={decision.sequence} d={decision.digest.hex()[:4]}"
