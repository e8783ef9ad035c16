"""Clicks, items and tables as they come in: what everything else learns from."""
