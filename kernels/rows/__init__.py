"""Draws over rows: one noise a category along the last dimension, one result a row."""
