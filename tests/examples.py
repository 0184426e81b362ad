"""Each class of elementwise draws with each choice of parameters: its law here, that of scipy, and its twin in torch.

The tests of all families run over this table, which is made of what the package says of its classes.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributions as td
from class_parameters import torchs
from every_class import examples
from scipy import special, stats

import rsample.distributions as dist
from rsample.distributions._sampling import FusedSampling
from rsample.kernels.laws.law import Law
from rsample.kernels.laws.rejection.noise import LoopNoise
from rsample.kernels.stream.noise import COARSE_EXPONENTIAL


class _Kumaraswamy:
    def __init__(self, concentration1, concentration0):
        self.a, self.b = concentration1, concentration0

    def cdf(self, x):
        return -np.expm1(self.b * np.log1p(-(x**self.a)))


class _Tanh:
    """The law of tanh(z), z normal."""

    def __init__(self, loc, scale):
        self.z = stats.norm(loc, scale)

    def cdf(self, x):
        return self.z.cdf(np.arctanh(x))


class _Sigmoid:
    """The law of sigmoid(y), y logistic."""

    def __init__(self, temperature, probs=None, logits=None):
        self.y = stats.logistic((special.logit(probs) if logits is None else logits) / temperature, 1 / temperature)

    def cdf(self, x):
        return self.y.cdf(special.logit(x))


class _ContinuousBernoulli:
    def __init__(self, probs=None, logits=None):
        self.logits = special.logit(probs) if logits is None else logits

    def cdf(self, x):
        return np.expm1(self.logits * x) / np.expm1(self.logits)


# Those that scipy has not.
OTHER_LAWS = {
    "Kumaraswamy": _Kumaraswamy,
    "TanhNormal": _Tanh,
    "RelaxedBernoulli": _Sigmoid,
    "ContinuousBernoulli": _ContinuousBernoulli,
}


@dataclass(frozen=True)
class Example:
    """One class with one choice of parameters.

    Attributes:
        cls: of rsample.distributions.
        example: what the package says of it.
    """

    cls: Any
    example: Any

    def __str__(self) -> str:
        return f"{self.family}({', '.join(self.ranges)})"

    @property
    def family(self) -> str:
        return self.cls.__name__

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """For each parameter, in the law's order, the range that tests take its values from."""
        return {name: self.example.parameters[name] for name in self.law.parameters}

    @property
    def rounding(self) -> float:
        return self.example.rounding

    def values(self, shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64, seed: int = 0) -> list:
        """A tensor of valid values of each parameter, evenly spread over its range in an order of its own."""
        generator = torch.Generator().manual_seed(seed)
        tensors = []
        for low, high in self.ranges.values():
            n = math.prod(shape)
            spread = (torch.randperm(n, generator=generator) + 0.5).double() / max(n, 1)
            tensors.append((low + (high - low) * spread).reshape(shape).to(dtype))
        return tensors

    def make(self, *params: Any, **options: Any) -> Any:
        return self.cls(**dict(zip(self.ranges, params, strict=True)), **options)

    def scipy_law(self, **params: float) -> Any:
        """The law of numbers, as scipy has it; or what has its cdf."""
        if self.example.scipy is not None:
            return self.example.scipy(stats, **params)
        return OTHER_LAWS[self.family](**params)

    @property
    def has_twin(self) -> bool:
        if self.family in ("GeneralizedPareto", "BernoulliStraightThrough"):
            return False  # torch's does not take float64; is another class
        return self.example.torch is not None or torchs(self.cls) is not None

    def make_twin(self, *params: Any) -> td.Distribution:
        """torch's distribution of tensors."""
        given = dict(zip(self.ranges, params, strict=True))
        return torchs(self.cls)(**given) if self.example.torch is None else self.example.torch(td, **given)

    @functools.cached_property
    def law(self) -> Law:
        found = [sampler.law for sampler in self.cls._samplers]
        return next(law for law in found if set(law.parameters) <= set(self.example.parameters))

    @property
    def coarse(self) -> float:
        """What GPU code may be off in addition, absolute: the coarse exponential is within 3e-4 relative, of which a
        logarithm makes as much absolute, times a scale of up to 2.5."""
        return 8e-4 if self.law.noise is COARSE_EXPONENTIAL and self.law.location else 0.0

    @property
    def lower(self) -> float:
        """An open bound of the sample."""
        lower = None if self.law.support is None else self.law.support.lower
        return -math.inf if lower is None else lower

    @property
    def upper(self) -> float:
        upper = None if self.law.support is None else self.law.support.upper
        return math.inf if upper is None else upper


EXAMPLES = [
    Example(cls, example)
    for _, cls, example in examples()
    if issubclass(cls, FusedSampling) and not isinstance(cls._samplers[0].law.noise, LoopNoise)
]
DISCRETE = {e.family for e in EXAMPLES if getattr(dist, e.family).support.is_discrete}
