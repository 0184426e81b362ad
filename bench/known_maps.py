"""Every distribution's map by its name, and the joint draw of one."""

from __future__ import annotations

from rsample.kernels.laws import known_maps
from rsample.kernels.laws.map import Map

__all__ = ["joint_map", "known_maps"]


def joint_map(map: Map) -> Map | None:
    """The draw of the sample with its log-density: pathwise where that exists, else at a constant sample."""
    if map.density is None:
        return None
    return map.with_score() if map.density.reference_grad is None else map.with_log_prob()
