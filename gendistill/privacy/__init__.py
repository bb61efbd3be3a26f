"""Differential privacy: one object gives private sums, one ledger counts them. See docs/methods/private-teachers.md."""
