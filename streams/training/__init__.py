"""The trainer's process: when to train, the gate, new releases."""
