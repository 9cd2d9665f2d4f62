"""What the HTTP API sees of a running node: the implementation of `NodePort` in `potchain.api.ports`."""

from potchain.gateway.links import LinkControl, report_links
from potchain.gateway.node_port import Gateway
from potchain.gateway.recent import RecentBlocks
from potchain.gateway.thread_metrics import ThreadCollector

__all__ = ["Gateway", "LinkControl", "RecentBlocks", "ThreadCollector", "report_links"]
