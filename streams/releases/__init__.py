"""What is live, and where it lies: roles, their topic, the store, the events."""
