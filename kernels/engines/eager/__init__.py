"""Draws by torch operations, the specification of all others."""
