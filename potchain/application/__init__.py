"""Applications: the contract, the built-in accounts, the authenticated state and the executor that ties them."""
