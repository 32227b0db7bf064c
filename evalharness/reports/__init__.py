"""Reports: results on disk to leaderboards, and leaderboards to text, pages, plots and what others read."""

from __future__ import annotations
