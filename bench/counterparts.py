"""What users of torch.distributions write where it has no class of its own, by the names of rsample's classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    Distribution,
    Normal,
    SigmoidTransform,
    TanhTransform,
    TransformedDistribution,
    Uniform,
)
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

__all__ = [
    "BernoulliStraightThrough",
    "ExpRelaxedCategorical",
    "Logistic",
    "LogitRelaxedBernoulli",
    "TanhNormal",
    "TruncatedNormal",
]


class Logistic(TransformedDistribution):
    """As the documentation of TransformedDistribution has it."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        base = Uniform(torch.zeros_like(loc), torch.ones_like(loc))
        super().__init__(base, [SigmoidTransform().inv, AffineTransform(loc, scale)])


class TanhNormal(TransformedDistribution):
    """The squashed policy of soft actor-critic; its cache spares log_prob the inverse."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__(Normal(loc, scale), TanhTransform(cache_size=1))


class TruncatedNormal:
    """The inverse of Normal's distribution function at a uniform number between its values at the bounds."""

    def __init__(self, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> None:
        self.loc, self.scale = loc, scale
        self.below, up_to = (torch.special.ndtr((bound - loc) / scale) for bound in (low, high))
        self.within = up_to - self.below

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        u = torch.rand((*sample_shape, *self.loc.shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.scale * torch.special.ndtri(self.below + self.within * u)


class BernoulliStraightThrough(Bernoulli):
    """The sample, with the gradient of probs."""

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


def constructor(name: str) -> type[Distribution]:
    """The class that stands for rsample's of this name."""
    return globals()[name] if name in __all__ else getattr(torch.distributions, name)
