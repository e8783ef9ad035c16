"""The worker's process: the frame around the hot path."""
