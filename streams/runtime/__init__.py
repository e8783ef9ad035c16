"""What every process needs from the machine: logs, event loop, slots. Knows no Kafka."""
