"""cot(pi t), t in [-1/2, 1/2]: a standard Cauchy number where t is uniform."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..runtime.language import tl, triton
from .devicemath import divide, negative

_PI = tl.constexpr(math.pi)
_RECIPROCAL_PI = tl.constexpr(1 / math.pi)


def cotangent(t: Tensor) -> Tensor:
    # The cotangent is large where t is small, and there t is exact: so are the tails.
    return torch.reciprocal(torch.tan(math.pi * t))


@triton.jit
def cotangent_device(t, HARDWARE: tl.constexpr):
    if t.dtype == tl.float64:
        return tl.cos(t * _PI) / tl.sin(t * _PI)
    else:
        # (1 / pi - t^2 q(t^2)) / t, Laurent's series of the cotangent on (0, 1/2] made minimax: within 1.1e-7 absolute.
        t2 = t * t
        q = tl.fma(t2, 1.4707199, 0.36165732)
        q = tl.fma(q, t2, 0.67794497)
        q = tl.fma(q, t2, 0.64527685)
        q = tl.fma(q, t2, 0.68908119)
        q = tl.fma(q, t2, 1.0471974)
        return divide(tl.fma(negative(t2), q, _RECIPROCAL_PI), t, HARDWARE)
