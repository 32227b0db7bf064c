"""Parts of `benchmarks/vs_mteb.py`."""
