"""Search in plain words: what items' texts say, what a query asks for, and how answers are joined."""
