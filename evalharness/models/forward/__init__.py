"""The one way of texts through a model: weights, tokens, batches, rows."""
