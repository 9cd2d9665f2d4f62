"""What an operator does with the contract from a shell: wallets, funds, deployment, calls, a local EVM.

The commands are thin; each of their rooms can be used as a library, by a script of eth-ape too. The EVM
libraries are imported inside functions, by whoever touches a chain: `potchain --help` must not pay a second for it.
"""
