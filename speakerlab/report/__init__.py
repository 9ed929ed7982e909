"""Results of scored trial lists as tables, JSON, pictures and one HTML page."""
