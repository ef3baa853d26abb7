"""Benchmarks: each figure of the README with its command."""
