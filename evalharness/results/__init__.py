"""Results on disk: a record per job, its items, and all that is read or made of them."""
