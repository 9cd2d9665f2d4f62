"""Measure consensus under network conditions: one call, a table, a grid, in three settings that agree.

    point            what is measured: nodes, payload, links, engine, faults, seed
    result           what came out
    lab/             shipping nodes on memory, and a client
    virtual, live    a point on virtual time; on sockets, in real time
    measuring        what these two share
    arrivals/        arrival times as arrays
    model, bound     a point by these; what the links imply at least
    synchronize      the call, in any of the modes
    grid, sweep      many points: files, running and resuming them
    schedulers       where they run: processes, Dask
    storage          journal and Parquet
    seed_table       the Go demo's table, its figures and ours
    plots/, report   pictures, and one HTML page
"""
