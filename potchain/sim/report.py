"""What a campaign found, as numbers and as words: a summary, and for a failure everything needed to look into it."""

from __future__ import annotations

import msgspec

from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.sim.plan import Outcome, Plan, Violation


class Summary(msgspec.Struct, kw_only=True):
    """Sums over the runs of a campaign."""

    title: str
    runs: int = 0
    virtual_ns: int = 0
    real_ns: int = 0
    """Wall time of the campaign, on all its workers together with what was done before a resume left out."""
    blocks: int = 0
    """Highest final height of each run, summed up."""
    transactions: int = 0
    frames: int = 0
    views_max: int = 0
    """Highest view that any run reached."""
    runs_with_view_change: int = 0
    boundaries: int = 0
    """Persist, send and decide boundaries passed."""
    violations: dict[str, int] = {}
    """Runs that broke a promise, by its name."""
    failures: dict[str, Violation] = {}
    """By job."""

    def add(self, name: str, outcome: Outcome) -> None:
        """One more run."""
        self.runs += 1
        self.virtual_ns += outcome.virtual_ns
        self.blocks += outcome.height
        self.transactions += outcome.transactions
        self.frames += outcome.frames
        self.views_max = max(self.views_max, outcome.views)
        self.runs_with_view_change += outcome.views > 0
        self.boundaries += sum(outcome.boundaries)
        if outcome.violation is not None:
            promise = outcome.violation.checker
            self.violations[promise] = self.violations.get(promise, 0) + 1
            self.failures[name] = outcome.violation

    @property
    def speed_up(self) -> float:
        """Virtual time over wall time."""
        return self.virtual_ns / self.real_ns if self.real_ns else 0.0

    def rows(self) -> list[tuple[str, str]]:
        """For a table."""
        broken = ", ".join(f"{count} {name}" for name, count in sorted(self.violations.items())) or "none"
        return [
            ("runs", f"{self.runs:,}"),
            ("virtual hours", f"{self.virtual_ns / NS_PER_S / 3600:.2f}"),
            ("wall seconds", f"{self.real_ns / NS_PER_S:.1f}"),
            ("speed-up", f"{self.speed_up:.0f} x"),
            ("blocks", f"{self.blocks:,}"),
            ("transactions", f"{self.transactions:,}"),
            ("frames", f"{self.frames:,}"),
            ("boundaries", f"{self.boundaries:,}"),
            ("runs with a view change", f"{self.runs_with_view_change:,}"),
            ("highest view", str(self.views_max)),
            ("promises broken", broken),
        ]


def violation_text(violation: Violation) -> str:
    """One line."""
    where = "" if violation.node is None else f" by node {violation.node}"
    return f"{violation.checker} broken{where} at {violation.at_ns // NS_PER_MS} ms: {violation.detail}"


def plan_text(plan: Plan) -> list[str]:
    """What is out of the ordinary in a plan, one thing a line."""
    ordinary = Plan(seed=plan.seed)
    lines = []
    for field in Plan.__struct_fields__:
        value = getattr(plan, field)
        if field == "seed" or value == getattr(ordinary, field):
            continue
        if isinstance(value, tuple) and field != "parameters":
            lines += [f"{field}: {_shown(each)}" for each in value]
        else:
            lines.append(f"{field}: {_shown(value)}")
    return lines


def _shown(value: object) -> str:
    if not isinstance(value, msgspec.Struct):
        return str(value)
    ordinary = {field.name: field.default for field in msgspec.structs.fields(value)}
    told = [
        f"{name}={getattr(value, name)}" for name in value.__struct_fields__ if getattr(value, name) != ordinary[name]
    ]
    return f"{type(value).__name__}({', '.join(told)})"
