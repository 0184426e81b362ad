"""Formulas: torch code as a list of operations, what is printed and derived from it, and functions that torch lacks."""
