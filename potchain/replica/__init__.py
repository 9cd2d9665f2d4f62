"""The replica: everything a node decides, without doing any of it.

Pure: events in, actions out. It joins one engine, the pool, the application and the chain's tip. This is the one place
where a sequence becomes a height.
"""

from potchain.replica.boot import ReplicaBoot
from potchain.replica.core import Replica

__all__ = ["Replica", "ReplicaBoot"]
