"""Draws by Triton kernels."""
