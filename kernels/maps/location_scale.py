"""Location-scale families: loc + scale * e, e a standard variate; and scale families, without loc."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..devicemath import divide, log
from ..language import bind, tl
from ..noise import Noise
from .map import Density, Map
from .support import Support


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


# Templates of device functions; a family's standard variate gives these names their meaning.
variate: Any = None
log_f: Any = None
slope: Any = None


def _location_scale_transform(noise, loc, scale, HARDWARE: tl.constexpr):
    return tl.fma(scale, variate(noise, HARDWARE), loc)


def _location_scale_transform_grad(noise, grad, HARDWARE: tl.constexpr):
    return grad, grad * variate(noise, HARDWARE)


def _location_scale_log_prob(noise, loc, scale, HARDWARE: tl.constexpr):
    return log_f(noise, HARDWARE) - log(scale, HARDWARE)


def _location_scale_log_prob_grad(noise, grad, loc, scale, HARDWARE: tl.constexpr):
    return tl.zeros_like(grad), -divide(grad, scale, HARDWARE)


def _location_scale_score(noise, grad, loc, scale, HARDWARE: tl.constexpr):
    unit = -divide(grad, scale, HARDWARE)
    s = slope(noise, HARDWARE)
    return unit * s, unit * tl.fma(s, variate(noise, HARDWARE), 1.0)


def _scale_transform(noise, scale, HARDWARE: tl.constexpr):
    return scale * variate(noise, HARDWARE)


def _scale_transform_grad(noise, grad, HARDWARE: tl.constexpr):
    return (grad * variate(noise, HARDWARE),)


def _scale_log_prob(noise, scale, HARDWARE: tl.constexpr):
    return log_f(noise, HARDWARE) - log(scale, HARDWARE)


def _scale_log_prob_grad(noise, grad, scale, HARDWARE: tl.constexpr):
    return (-divide(grad, scale, HARDWARE),)


def _scale_score(noise, grad, scale, HARDWARE: tl.constexpr):
    return (-divide(grad, scale, HARDWARE) * tl.fma(slope(noise, HARDWARE), variate(noise, HARDWARE), 1.0),)


def _device_names(standard: Standard) -> dict[str, Any]:
    """What the templates call the functions of a standard variate."""
    return {"variate": standard.device, "log_f": standard.device_log_density, "slope": standard.device_slope}


def location_scale_map(name: str, standard: Standard, at: Callable[..., Tensor], support: Support | None = None) -> Map:
    """The map loc + scale * e; its log-density is log f(e) - log(scale), and `at(sample, loc, scale)`."""
    device = _device_names(standard)

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

    return Map(
        name=name,
        parameters=("loc", "scale"),
        noise=standard.noise,
        reference=reference,
        reference_grad=reference_grad,
        affine=True,
        location="loc",
        support=support,
        transform=bind(_location_scale_transform, **device),
        transform_grad=bind(_location_scale_transform_grad, **device),
        density=Density(
            at=at,
            reference=log_prob,
            reference_grad=log_prob_grad,
            reference_score=score,
            transform=bind(_location_scale_log_prob, **device),
            transform_grad=bind(_location_scale_log_prob_grad, **device),
            score=bind(_location_scale_score, **device),
        ),
    )


def scale_map(name: str, standard: Standard, at: Callable[..., Tensor], support: Support | None = None) -> Map:
    """The map scale * e; its log-density is log f(e) - log(scale), and `at(sample, scale)`."""
    device = _device_names(standard)

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

    return Map(
        name=name,
        parameters=("scale",),
        noise=standard.noise,
        reference=reference,
        reference_grad=reference_grad,
        affine=True,
        support=support,
        transform=bind(_scale_transform, **device),
        transform_grad=bind(_scale_transform_grad, **device),
        density=Density(
            at=at,
            reference=log_prob,
            reference_grad=log_prob_grad,
            reference_score=score,
            transform=bind(_scale_log_prob, **device),
            transform_grad=bind(_scale_log_prob_grad, **device),
            score=bind(_scale_score, **device),
        ),
    )
