"""What users of torch.distributions write where it has no class of its own, by the names of rsample's classes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution

import rsample.distributions


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


# Where it takes more than a line, which the class itself gives.
_OWN = {"TruncatedNormal": TruncatedNormal, "BernoulliStraightThrough": BernoulliStraightThrough}


def constructor(name: str) -> Callable[..., Any] | None:
    """What stands for rsample's class of this name; None where torch has nothing for it."""
    if name in _OWN:
        return _OWN[name]
    ours = getattr(rsample.distributions, name)
    for base in ours.__mro__:
        if base.__name__ == name and base.__module__.startswith("torch.distributions."):
            return base
    composed = next((example.torch for example in ours._examples if example.torch is not None), None)
    return None if composed is None else functools.partial(composed, torch.distributions)


def only_samples(counterpart: Callable[..., Any] | None) -> bool:
    """Whether torch's class has no rsample."""
    return getattr(counterpart, "rsample", None) is Distribution.rsample
