"""Samples of distributions, each drawn by one kernel.

>>> import rsample
>>> z = rsample.distributions.Normal(loc, scale).rsample((16,))

This file is installed as `rsample/__init__.py`, beside the folders of its two packages.
"""

from . import distributions, kernels

__version__ = "0.2.0"

__all__ = ["__version__", "distributions", "kernels"]
