"""Scoring of embeddings with numpy and scipy."""
