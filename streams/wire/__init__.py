"""Bytes to records and back: the contract of the topics."""
