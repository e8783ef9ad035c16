"""Vectors in, nearest items out. Knows neither models nor streams."""
