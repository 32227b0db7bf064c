"""The parts of schedule.py: how long texts are, what their shards cost, and who encodes which of them when."""
