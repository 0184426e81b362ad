"""Kernels that draw: Philox, noise, laws, and the three backends that run them."""

from .runtime.backend import use_backend
from .stream.compatibility import fold_in, key, split

__all__ = ["fold_in", "key", "split", "use_backend"]
