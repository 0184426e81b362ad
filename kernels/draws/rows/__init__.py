"""Draws over rows: one noise per category along the last dimension, one result per row."""
