"""Von Mises noise: q = tan(x / 2) for an angle x of the von Mises law around 0.

Source: Best and Fisher, "Efficient simulation of the von Mises distribution" (1979). Their proposal, a wrapped Cauchy
law, is q = s e with e standard Cauchy; it is taken with probability c exp(1 - c), c = concentration * (r - cos x).
Everything is put so that nothing cancels, at small concentrations or large ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...formula.special import cotangent
from .law import RejectionLaw, centered_candidates

# Beyond it root is twice the concentration to rounding, and its square would overflow.
_STEEP = 1e15
# Beyond it, where angles are below 1e-17, float32 overflows.
_STEEPEST = 1e36


def _setup(concentration: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(s, concentration * (r - 1), 2 * concentration)."""
    twice = 2 * torch.clamp(concentration, -math.inf, _STEEPEST)
    root = torch.where(twice > 2 * _STEEP, twice, torch.sqrt(1 + twice * twice))
    further = torch.sqrt(2 * (1 + root))
    total = 1 + root + further
    s = (1 + further + 1 / (root + twice)) / (total + twice)
    distance = s * (1 + twice / total)
    return s, distance * distance * total / 4, twice


def _attempt(t: Tensor, u: Tensor, s: Tensor, base: Tensor, twice: Tensor) -> tuple[Tensor, Tensor]:
    q = s * cotangent(t)
    # 1 - cos x is 2 q**2 / (1 + q**2).
    c = base + twice / (1 + 1 / (q * q))
    return q, u > c * torch.exp(1 - c)


VON_MISES = RejectionLaw("von_mises", parameters=1, setup=_setup, candidates=centered_candidates, attempt=_attempt)
