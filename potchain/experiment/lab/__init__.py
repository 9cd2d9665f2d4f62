"""The laboratory: shipping nodes with memory in place of disks, a client, and a count of every frame.

    payload     what the client hands over, and how it is cut into frames
    settings    genesis, keys, limits and links of a point
    stores      vote log and ledger of a node in memory
    node        one validator: the shipping driver and replica
    traffic     what every frame was for
    client      hands transactions over, counts replies
    network     links between nodes in virtual time
    counting    around the transport of a node on real sockets
"""
