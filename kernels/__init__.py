"""Kernels that draw: Philox, noise, maps, and the three backends that run them."""

from .backend import use_backend

__all__ = ["use_backend"]
