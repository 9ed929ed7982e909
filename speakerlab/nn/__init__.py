"""Networks, poolings and losses; reads no files."""
