"""Benchmarks: each figure of the README beside its command."""
