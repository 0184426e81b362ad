"""Location-scale families: loc + scale * e, e a standard variate; and scale families, without loc."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..stream.noise import Noise
from .law import Density, Law
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


def location_scale_law(name: str, standard: Standard, at: Callable[..., Tensor], support: Support | None = None) -> Law:
    """The law loc + scale * e; its log-density is log f(e) - log(scale), and `at(sample, loc, scale)`."""
    return _law(name, ("loc", "scale"), standard, at, support)


def scale_law(name: str, standard: Standard, at: Callable[..., Tensor], support: Support | None = None) -> Law:
    """The law scale * e; its log-density is log f(e) - log(scale), and `at(sample, scale)`."""
    return _law(name, ("scale",), standard, at, support)


def _law(
    name: str, parameters: tuple[str, ...], standard: Standard, at: Callable[..., Tensor], support: Support | None
) -> Law:
    def reference(noise: Tensor, *params: Tensor) -> Tensor:
        *loc, scale = params
        e = standard.reference(noise)
        return torch.addcmul(loc[0], scale, e) if loc else scale * e

    def score(noise: Tensor, grad: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
        *loc, scale = params
        unit = grad / scale
        slope = standard.slope(noise)
        of_loc = (-unit * slope,) if loc else ()
        return *of_loc, -unit * (1 + slope * standard.reference(noise))

    def log_prob_of(log_density: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        return lambda noise, *params: log_density(noise) - torch.log(params[-1])

    return Law(
        name=name,
        parameters=parameters,
        noise=standard.noise,
        reference=reference,
        affine=True,
        location="loc" if "loc" in parameters else None,
        support=support,
        density=Density(
            at=at,
            reference=log_prob_of(standard.log_density),
            reference_score=score,
            transform=log_prob_of(standard.device_log_density) if standard.device_log_density else None,
        ),
    )
