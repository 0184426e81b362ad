"""Normal: loc + scale * eps, eps standard normal."""

from __future__ import annotations

import torch
from torch import Tensor

from ..language import tl, triton
from ..noise import NORMAL
from .map import Map


def normal_reference(eps: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(loc, scale, eps)


def normal_reference_grad(eps: Tensor, grad: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return grad, grad * eps


@triton.jit
def normal_transform(eps, loc, scale, HARDWARE: tl.constexpr):
    return tl.fma(scale, eps, loc)


@triton.jit
def normal_transform_grad(eps, grad, HARDWARE: tl.constexpr):
    return grad, grad * eps


NORMAL_MAP = Map(
    name="normal",
    parameters=("loc", "scale"),
    noise=NORMAL,
    reference=normal_reference,
    reference_grad=normal_reference_grad,
    affine=True,
    location="loc",
    transform=normal_transform,
    transform_grad=normal_transform_grad,
)
