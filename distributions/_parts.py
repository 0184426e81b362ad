"""What torch makes of a distribution's attributes when it is constructed, and what its densities are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def part(make: Callable[[Any], Any]) -> property:
    """A `base_dist` or `transforms` made of the attributes at each look, so that densities follow what is assigned."""
    return property(make, _ignored, doc="Made of the attributes at each look: densities follow what is assigned.")


def _ignored(distribution: Any, value: object) -> None:
    """torch's `expand` assigns what it has made of other parts."""
