"""The transaction pool: what is admitted and not yet executed. Pure: no clock, no I/O; time comes in as arguments.

Rooms, bottom up: `interface` (limits and answers), `run` and `ordering` and `runs` (readiness, order and choice),
`in_flight` and `pins` (what proposals hold and need), `admission`, `departures`, and `transaction_pool` over all.
"""

from potchain.pool.interface import Admission, Dropped, PendingState, PooledTransaction, PoolLimits, PoolSizes
from potchain.pool.transaction_pool import TransactionPool

__all__ = [
    "Admission",
    "Dropped",
    "PendingState",
    "PooledTransaction",
    "PoolLimits",
    "PoolSizes",
    "TransactionPool",
]
