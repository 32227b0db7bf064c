"""What was asked for, which jobs that makes, and each job from its data to its scores."""
