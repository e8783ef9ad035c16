"""Everything that touches Kafka, Faust, HTTP, the clock or the environment."""

__version__ = "0.1.0"
