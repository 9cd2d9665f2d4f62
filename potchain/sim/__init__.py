"""A deterministic simulator of whole nodes on virtual time.

Everything but driver, transport and disk is the shipping code. One plan determines one run, byte for byte.
"""
