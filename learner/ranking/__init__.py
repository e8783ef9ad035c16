"""Candidates and what the ranker reads of them: the second half of the hot path. Knows no torch."""
