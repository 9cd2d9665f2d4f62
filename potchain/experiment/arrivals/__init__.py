"""Arrival times of PBFT's normal case as arrays: what mode "model" and the lower bound are computed with.

    traffic     what travels: frames of the client, of nodes that pass bodies on, and votes
    plan        from a point to its traffic
    latencies   the draws of the link model, link by link or as whole matrices
    pipes       queues, solved for all frames at once
    network     who takes part over which links
    senders     everything that one node sends
    downlinks   waiting at receivers, where all senders share one
    proposals   which blocks the primary makes, and when
    spreading   when every node has bodies and pre-prepare
    voting      prepare, commit and reply as order statistics over matrices
    passes      all of it, again and again until it agrees with itself

Times are nanoseconds since the client's first byte. Nodes that are down take no part: indices count the others.
"""
