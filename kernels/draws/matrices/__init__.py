"""Draws that are a matrix product: loc + factor @ eps, the noise made inside the product."""
