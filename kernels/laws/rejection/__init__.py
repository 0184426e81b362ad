"""Draws that loop: each element tries Philox blocks of its own until one of them is accepted."""
