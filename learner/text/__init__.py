"""Texts to vectors: the encoder of item texts, its cache, words of queries."""
