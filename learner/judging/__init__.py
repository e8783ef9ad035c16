"""Statistics alone: metrics, the gate, the canary's test, drift. Knows no models."""
