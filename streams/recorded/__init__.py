"""The hot path over recorded clicks."""
