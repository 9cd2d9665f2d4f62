"""What authors of plug-ins test with: the simulator, its checkers, and conformance kits for engines and back ends.

    from potchain.testing import engine_conformance

    test_conformance = engine_conformance(MyFactory())

makes one pytest case for each promise that a host of engines relies on; `settlement_conformance` does the same for
settlement back ends, on chains that you bring. The rest of this module is for tests of your own: write a `Plan`, `run`
it under `standard_checkers`, look at the `Outcome`.
"""

from potchain.sim.byzantine import BEHAVIOURS, Liar
from potchain.sim.campaign import first_violation, run_plan
from potchain.sim.checkers import PROMISES, safety_checkers, standard_checkers
from potchain.sim.cluster import run
from potchain.sim.crash_sweep import CrashPoint, base_plans, crash_plans, crash_points, sampled
from potchain.sim.forging import Saboteur
from potchain.sim.minimise import Minimised, Minimiser
from potchain.sim.observation import ApiAnswer, Checker, ClusterView, NodeView, PromiseBroken
from potchain.sim.plan import (
    Byzantine,
    ClockJump,
    Crash,
    CrashAtStep,
    CutLink,
    Link,
    LinkChange,
    LoseVoteLog,
    Outcome,
    Partition,
    Plan,
    RestoreOldVoteLog,
    SlowDisk,
    SlowNode,
    Twin,
    Violation,
    Workload,
)
from potchain.sim.profiles import PROFILES, plan_of
from potchain.sim.report import plan_text, violation_text
from potchain.sim.twins import scenario, twins_plans
from potchain.testing.conformance import ConformanceCase, conformance_cases, engine_conformance
from potchain.testing.recording import RecordedEngine, RecordingFactory, replay
from potchain.testing.settlement import (
    MakeScenario,
    SettlementScenario,
    settlement_cases,
    settlement_conformance,
)

__all__ = [
    "ApiAnswer", "BEHAVIOURS", "Byzantine", "Checker", "ClockJump", "ClusterView", "ConformanceCase", "Crash",
    "CrashAtStep", "CrashPoint", "CutLink", "Liar", "Link", "LinkChange", "LoseVoteLog", "MakeScenario", "Minimised",
    "Minimiser", "NodeView", "Outcome", "PROFILES", "PROMISES", "Partition", "Plan", "PromiseBroken", "RecordedEngine",
    "RecordingFactory", "RestoreOldVoteLog", "Saboteur", "SettlementScenario", "SlowDisk", "SlowNode", "Twin",
    "Violation", "Workload", "base_plans", "conformance_cases", "crash_plans", "crash_points", "engine_conformance",
    "first_violation", "plan_of", "plan_text", "replay", "run", "run_plan", "safety_checkers", "sampled", "scenario",
    "settlement_cases", "settlement_conformance", "standard_checkers", "twins_plans", "violation_text",
]  # fmt: skip
