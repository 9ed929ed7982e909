"""Batch extraction of embeddings."""
