"""The settler: signs what the ledger wants done on Layer 2, relays it in its turn, and votes on what happens there."""
