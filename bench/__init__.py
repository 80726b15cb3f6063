"""Benchmarks, run by hand: each prints ratios against a plain way, measured in the same run."""
