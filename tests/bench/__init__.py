"""Measurements by hand; see `--help` of each."""
