"""From a batch of clicks to lists: start with `recommend.py`, then the files beside it. Knows no Kafka."""
