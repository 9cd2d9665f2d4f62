"""A simulated Layer 2: the contract, a chain of its own that reorganises and stalls, and a node's way to it."""
