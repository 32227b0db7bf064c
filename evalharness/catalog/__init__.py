"""Names to tasks, benchmarks and suites, and what a command chooses of them; nothing here imports a heavy library."""
