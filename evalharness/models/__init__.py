"""What a model is, and how its name becomes an object that encodes texts or ranks documents."""
