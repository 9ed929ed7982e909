"""Entry points, one per step."""
