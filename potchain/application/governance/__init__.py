"""Governance: what a quorum of operators decides about settlement and parameters."""
