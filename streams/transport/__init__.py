"""Kafka, and nothing of us: consuming, delivering, fencing, topics."""
