"""Encoders that learn from a catalogue and its clicks, and stay encoders that anything here can read."""
