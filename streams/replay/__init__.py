"""`nextclick replay` and `nextclick simulate`: systems over recorded clicks, and their reports."""
