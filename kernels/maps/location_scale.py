"""Location-scale families: loc + scale * e, e a standard variate; and scale families, without loc."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..devicemath import divide, log
from ..language import tl, triton
from ..noise import Noise
from .map import Density, Map, Support


@dataclass(frozen=True)
class Standard:
    """A standard variate e made of one noise, with density f.

    Attributes:
        noise: what it is made of.
        reference: `noise -> e`.
        log_density: `noise -> log f(e)`.
        slope: `noise -> (log f)'(e)`.
        device, device_log_density, device_slope: Triton twins, which take a compile-time HARDWARE at the end.
    """

    noise: Noise
    reference: Callable[[Tensor], Tensor]
    log_density: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    device: Any
    device_log_density: Any
    device_slope: Any


def location_scale_map(name: str, standard: Standard, at: Callable[..., Tensor], support: Support | None = None) -> Map:
    """The map loc + scale * e; its log-density is log f(e) - log(scale), and `at(sample, loc, scale)`."""
    variate, log_f, slope = standard.device, standard.device_log_density, standard.device_slope

    def reference(noise: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        return torch.addcmul(loc, scale, standard.reference(noise))

    def reference_grad(noise: Tensor, grad: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        return grad, grad * standard.reference(noise)

    def log_prob(noise: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        return standard.log_density(noise) - torch.log(scale)

    def log_prob_grad(noise: Tensor, grad: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        # e does not move with the parameters.
        return torch.zeros_like(grad), -grad / scale

    def score(noise: Tensor, grad: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        unit = grad / scale
        slope = standard.slope(noise)
        return -unit * slope, -unit * (1 + slope * standard.reference(noise))

    @triton.jit
    def transform(noise, loc, scale, HARDWARE: tl.constexpr):
        return tl.fma(scale, variate(noise, HARDWARE), loc)

    @triton.jit
    def transform_grad(noise, grad, HARDWARE: tl.constexpr):
        return grad, grad * variate(noise, HARDWARE)

    @triton.jit
    def log_prob_transform(noise, loc, scale, HARDWARE: tl.constexpr):
        return log_f(noise, HARDWARE) - log(scale, HARDWARE)

    @triton.jit
    def log_prob_transform_grad(noise, grad, loc, scale, HARDWARE: tl.constexpr):
        return tl.zeros_like(grad), -divide(grad, scale, HARDWARE)

    @triton.jit
    def log_prob_score(noise, grad, loc, scale, HARDWARE: tl.constexpr):
        unit = -divide(grad, scale, HARDWARE)
        s = slope(noise, HARDWARE)
        return unit * s, unit * tl.fma(s, variate(noise, HARDWARE), 1.0)

    return Map(
        name=name,
        parameters=("loc", "scale"),
        noise=standard.noise,
        reference=reference,
        reference_grad=reference_grad,
        affine=True,
        location="loc",
        support=support,
        transform=transform,
        transform_grad=transform_grad,
        density=Density(
            at=at,
            reference=log_prob,
            reference_grad=log_prob_grad,
            reference_score=score,
            transform=log_prob_transform,
            transform_grad=log_prob_transform_grad,
            score=log_prob_score,
        ),
    )


def scale_map(name: str, standard: Standard, at: Callable[..., Tensor], support: Support | None = None) -> Map:
    """The map scale * e; its log-density is log f(e) - log(scale), and `at(sample, scale)`."""
    variate, log_f, slope = standard.device, standard.device_log_density, standard.device_slope

    def reference(noise: Tensor, scale: Tensor) -> Tensor:
        return scale * standard.reference(noise)

    def reference_grad(noise: Tensor, grad: Tensor, scale: Tensor) -> tuple[Tensor]:
        return (grad * standard.reference(noise),)

    def log_prob(noise: Tensor, scale: Tensor) -> Tensor:
        return standard.log_density(noise) - torch.log(scale)

    def log_prob_grad(noise: Tensor, grad: Tensor, scale: Tensor) -> tuple[Tensor]:
        return (-grad / scale,)

    def score(noise: Tensor, grad: Tensor, scale: Tensor) -> tuple[Tensor]:
        return (-(grad / scale) * (1 + standard.slope(noise) * standard.reference(noise)),)

    @triton.jit
    def transform(noise, scale, HARDWARE: tl.constexpr):
        return scale * variate(noise, HARDWARE)

    @triton.jit
    def transform_grad(noise, grad, HARDWARE: tl.constexpr):
        return (grad * variate(noise, HARDWARE),)

    @triton.jit
    def log_prob_transform(noise, scale, HARDWARE: tl.constexpr):
        return log_f(noise, HARDWARE) - log(scale, HARDWARE)

    @triton.jit
    def log_prob_transform_grad(noise, grad, scale, HARDWARE: tl.constexpr):
        return (-divide(grad, scale, HARDWARE),)

    @triton.jit
    def log_prob_score(noise, grad, scale, HARDWARE: tl.constexpr):
        return (-divide(grad, scale, HARDWARE) * tl.fma(slope(noise, HARDWARE), variate(noise, HARDWARE), 1.0),)

    return Map(
        name=name,
        parameters=("scale",),
        noise=standard.noise,
        reference=reference,
        reference_grad=reference_grad,
        affine=True,
        support=support,
        transform=transform,
        transform_grad=transform_grad,
        density=Density(
            at=at,
            reference=log_prob,
            reference_grad=log_prob_grad,
            reference_score=score,
            transform=log_prob_transform,
            transform_grad=log_prob_transform_grad,
            score=log_prob_score,
        ),
    )
