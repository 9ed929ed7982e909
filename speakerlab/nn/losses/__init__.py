"""One training criterion per file."""
