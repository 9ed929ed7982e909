"""Dataset, schedules, checkpoints and the training loop."""
