"""The settler's part of `/metrics`: asked when the page is read, like the node's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from potchain.api.ports import SettlementStatus
from potchain.settlement.report import ActionPhase, SettlerReport, SettlerState


class SettlementCollector(Collector):
    """One reading of the settler's report."""

    def __init__(self, status: Callable[[], SettlementStatus]) -> None:
        self._status = status

    def describe(self) -> Iterator[Metric]:
        """Nothing: so registering asks nothing."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every state and phase has a sample, so that alerts need not guess which ones exist."""
        report = self._status().report
        states = GaugeMetricFamily("potchain_settlement_state", "1 for the settler's state.", labels=("state",))
        for state in get_args(SettlerState):
            states.add_metric((state,), int(state == report.state))
        yield states
        fault = GaugeMetricFamily("potchain_settlement_fault", "1 for what stands in the way.", labels=("code",))
        if report.fault is not None:
            fault.add_metric((report.fault.code,), 1)
        yield fault
        actions = GaugeMetricFamily("potchain_settlement_actions", "Open actions by phase.", labels=("phase",))
        for phase in get_args(ActionPhase):
            actions.add_metric((phase,), sum(action.phase == phase for action in report.actions))
        yield actions
        yield from _numbers(report)
        yield CounterMetricFamily(
            "potchain_settlement_reorgs", "Reorganisations of Layer 2 noticed.", value=report.reorgs
        )


def _numbers(report: SettlerReport) -> Iterator[Metric]:
    since_ms = report.fault.since_ms if report.fault is not None else 0
    for name, text, value in (
        ("fault_since_ms", "Since when something stands in the way, Unix ms; 0: nothing does.", since_ms),
        ("layer2_head", "Newest block of Layer 2.", report.head_number),
        ("layer2_confirmed", "Highest block of Layer 2 that is deep enough.", report.confirmed_number),
        ("layer2_looked_ms", "Last look at Layer 2 that succeeded, Unix ms.", report.looked_ms),
        ("next_action", "Nonce that the ledger gives the next action.", report.next_action),
        ("contract_nonce", "Nonce that the contract executes next.", report.next_nonce),
        ("next_event", "Event nonce that the ledger applies next.", report.next_event),
        ("events_behind", "Events of Layer 2 that the ledger has not applied.", report.events_behind),
        ("contract_funds", "Base units in the contract that are not allocated.", report.funds),
        ("contract_paused", "1 while the contract is paused.", int(report.paused)),
        ("duties_under_way", "Own signatures and votes that wait for a block.", report.under_way),
        ("relay_attempts", "Layer 2 transactions followed for open actions.", sum(a.attempts for a in report.actions)),
    ):
        if value is not None:
            yield GaugeMetricFamily("potchain_settlement_" + name, text, value)
