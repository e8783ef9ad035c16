"""Encoders that learn from a catalogue's texts and its clicks, and stay encoders that anything here can read."""
