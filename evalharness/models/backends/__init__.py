"""A file per backend that is no kind on an engine; its row stands in `registry.BACKENDS`."""
