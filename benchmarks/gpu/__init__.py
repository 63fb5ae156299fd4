"""Benchmarks for a GPU that is at hand for minutes."""
