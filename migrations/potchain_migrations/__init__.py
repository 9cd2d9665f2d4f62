"""Schema history of potchain's databases, run by `potchain.ledger.migrate`."""
