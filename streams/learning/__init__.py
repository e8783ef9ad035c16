"""The learner's process: signals from all clicks, and the watch over canaries."""
