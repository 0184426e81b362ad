"""Uniform: low + (high - low) * u, u uniform in [0, 1)."""

from __future__ import annotations

from torch import Tensor

from ..language import tl, triton
from ..noise import NATIVE_UNIFORM
from .map import Map


def uniform_reference(u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return low + (high - low) * u


def uniform_reference_grad(u: Tensor, grad: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return grad * (1 - u), grad * u


@triton.jit
def uniform_transform(u, low, high, HARDWARE: tl.constexpr):
    return low + (high - low) * u


@triton.jit
def uniform_transform_grad(u, grad, HARDWARE: tl.constexpr):
    return grad * (1.0 - u), grad * u


UNIFORM_MAP = Map(
    name="uniform",
    parameters=("low", "high"),
    noise=NATIVE_UNIFORM,
    reference=uniform_reference,
    reference_grad=uniform_reference_grad,
    affine=True,
    transform=uniform_transform,
    transform_grad=uniform_transform_grad,
)
