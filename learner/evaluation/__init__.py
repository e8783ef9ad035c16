"""Replays: each click is predicted before it is learned from, beside strong baselines."""
