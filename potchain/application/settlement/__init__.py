"""The ledger's side of settlement: what it owes, how that becomes Layer 2 actions, and how their receipts come back."""
