"""HTTP: `nextclick api`, a process between browsers and the topics. Knows no worker and no hot path."""
