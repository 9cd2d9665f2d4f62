"""Consensus: the engine interface, quorums and the guard of the signer. Engines themselves are plug-ins."""
