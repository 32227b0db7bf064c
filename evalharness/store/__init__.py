"""Vectors on disk: which shards there are, what is in them, and what becomes of them."""
