"""Draws by compiled C++."""
