"""From vectors, or scores of pairs, to ranked documents and their metrics."""
