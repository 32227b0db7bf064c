"""What turns token ids into hidden states or logits, a file each; the table is `registry.ENGINES`."""
