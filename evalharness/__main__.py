"""`python -m evalharness` is the same command as `evalharness`."""

from __future__ import annotations

from evalharness.cli.main import main

if __name__ == "__main__":
    main()
