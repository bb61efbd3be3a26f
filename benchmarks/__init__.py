"""Benchmarks; a package of its own, since Opacus installs another one of this name."""
