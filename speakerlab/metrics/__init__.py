"""Detection metrics, their intervals and plots."""
