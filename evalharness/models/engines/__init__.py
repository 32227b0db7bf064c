"""What turns token ids into hidden states or logits, a file each; rows of `registry.BACKENDS` name them."""
