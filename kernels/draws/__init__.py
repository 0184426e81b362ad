"""Draws from checked arguments: keys, operators, derivatives, and the native core that does the same in C++."""
