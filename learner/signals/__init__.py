"""What all users' clicks say about items: decayed popularity, co-occurrence, recency."""
