"""Recorded clicks sent to a running system."""
