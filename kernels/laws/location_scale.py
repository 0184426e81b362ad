"""Location-scale families: loc + scale * e, e a standard variate; and scale families, without loc."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..stream.noise import Noise
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
        device_log_density: torch code in place of `log_density` that is better on a GPU.
    """

    noise: Noise
    reference: Callable[[Tensor], Tensor]
    log_density: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    device_log_density: Callable[[Tensor], Tensor] | None = None


def _log_prob(log_density: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """The log-density of the scaled variate, of noise and parameters, from `log f(e)`: the last one is the scale."""
    return lambda noise, *parameters: log_density(noise) - torch.log(parameters[-1])


def location_scale_map(
    name: str,
    standard: Standard,
    at: Callable[..., Tensor],
    support: Support | None = None,
) -> Map:
    """The map loc + scale * e; its log-density is log f(e) - log(scale), and `at(sample, loc, scale)`."""

    log_prob = _log_prob(standard.log_density)

    def reference(noise: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        return torch.addcmul(loc, scale, standard.reference(noise))

    def score(noise: Tensor, grad: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        unit = grad / scale
        slope = standard.slope(noise)
        return -unit * slope, -unit * (1 + slope * standard.reference(noise))

    return Map(
        name=name,
        parameters=("loc", "scale"),
        noise=standard.noise,
        reference=reference,
        affine=True,
        location="loc",
        support=support,
        density=Density(
            at=at,
            reference=log_prob,
            reference_score=score,
            transform=_log_prob(standard.device_log_density) if standard.device_log_density else None,
        ),
    )


def scale_map(
    name: str,
    standard: Standard,
    at: Callable[..., Tensor],
    support: Support | None = None,
) -> Map:
    """The map scale * e; its log-density is log f(e) - log(scale), and `at(sample, scale)`."""

    log_prob = _log_prob(standard.log_density)

    def reference(noise: Tensor, scale: Tensor) -> Tensor:
        return scale * standard.reference(noise)

    def score(noise: Tensor, grad: Tensor, scale: Tensor) -> tuple[Tensor]:
        return (-(grad / scale) * (1 + standard.slope(noise) * standard.reference(noise)),)

    return Map(
        name=name,
        parameters=("scale",),
        noise=standard.noise,
        reference=reference,
        affine=True,
        support=support,
        density=Density(
            at=at,
            reference=log_prob,
            reference_score=score,
            transform=_log_prob(standard.device_log_density) if standard.device_log_density else None,
        ),
    )
