"""Models, training, signals, metrics and evaluation: everything that learns. Knows no Kafka."""
