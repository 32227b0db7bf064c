"""What of a run is done by Ray tasks, where Ray has been started for the model."""
