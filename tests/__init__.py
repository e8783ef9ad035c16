"""Tests, in the same rooms as what they test; `worlds` holds what several of them share."""
