"""What is made of hidden states or logits, a file each; the table is `registry.KINDS`."""
