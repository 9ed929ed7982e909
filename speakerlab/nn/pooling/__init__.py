"""One pooling per file: [B, C, T] to [B, D]."""
