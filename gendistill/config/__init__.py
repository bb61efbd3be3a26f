"""Experiments written as YAML: reading, scales, overrides, checking and completing."""
